#include "config/schema.h"

#include <inttypes.h>
#include <string.h>

#define KIB (INT64_C(1) << 10)
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)
#define PATH_BYTES 4096
#define TEMPLATE_BYTES (64 * KIB)

#define IN(s, member) .offset = offsetof(struct s, member)
#define COUNT(s, member) .count_offset = offsetof(struct s, member)
#define RANGE(low, high) .min = (low), .max = (high)
#define REALS(low, high) .real_min = (low), .real_max = (high)
#define CHOICES(names) .choices = (names), .n_choices = sizeof(names) / sizeof(names)[0]
#define FIELD(name_, meaning)                                                                               \
    .type = KEY_TEXT, .optional = true, .batches = true, .offset = (name_) * sizeof(char *), RANGE(1, 256), \
    .help = meaning

/* In the order of enum template_system_place, which belongs to the text stage. */
static const char *const system_place_names[] = {"before", "first_user", "last_user"};

/* A row is a few lines, which clang-format would make a dozen. */
/* clang-format off */
static const struct key feed_keys[] = {
    {.name = "listen", .type = KEY_ENDPOINT, .restart = true, IN(conf, feed_listen), RANGE(0, 256),
     .dflt = "tcp://127.0.0.1:5757",
     .help = "door for the client libraries: credits, acknowledgement, resume (ROUTER)"},
    {.name = "subscribe", .type = KEY_ENDPOINT, .restart = true, IN(conf, feed_subscribe), RANGE(0, 256),
     .dflt = "tcp://127.0.0.1:5758",
     .help = "door for any SUB socket that subscribes to STREAM/WORLD/RANK/STEP/ (XPUB)"},
    {0},
};

static const struct key control_keys[] = {
    {.name = "listen", .type = KEY_ENDPOINT, .restart = true, IN(conf, control_listen), RANGE(0, 256),
     .dflt = "ipc:///run/skipalign/control",
     .help = "where skipalignctl reaches the daemon"},
    {0},
};

static const struct key tokenizer_keys[] = {
    {.name = "path", .type = KEY_CHOICE, .restart = true, IN(conf, tokenizer_path),
     CHOICES(tokenizer_path_names), .dflt = "auto",
     .help = "who tokenises; auto: our own code for the models that it knows, many times faster with the same "
             "ids, else libsentencepiece; library: always libsentencepiece"},
    {.name = "verify", .type = KEY_INT, .restart = true, IN(conf, tokenizer_verify), RANGE(0, INT32_MAX),
     .unit = "texts", .dflt = "4096",
     .help = "one text in so many that our own code tokenises is compared with libsentencepiece, so that a "
             "difference is found and ends its use; 1: every text, 0: none"},
    {0},
};

static const struct key field_keys[] = {
    {.name = "messages", FIELD(FIELD_MESSAGES, "messages: the list of turns")},
    {.name = "role", FIELD(FIELD_ROLE, "messages: who speaks")},
    {.name = "content", FIELD(FIELD_CONTENT, "messages: what is said")},
    {.name = "conversations", FIELD(FIELD_CONVERSATIONS, "sharegpt: the list of turns")},
    {.name = "from", FIELD(FIELD_FROM, "sharegpt: who speaks")},
    {.name = "value", FIELD(FIELD_VALUE, "sharegpt: what is said")},
    {.name = "system", FIELD(FIELD_SYSTEM, "the system prompt, where a record has one")},
    {.name = "instruction", FIELD(FIELD_INSTRUCTION, "alpaca: the instruction")},
    {.name = "input", FIELD(FIELD_INPUT, "alpaca: what the instruction is about")},
    {.name = "output", FIELD(FIELD_OUTPUT, "alpaca: the response")},
    {.name = "history", FIELD(FIELD_HISTORY, "alpaca: earlier turns, a list of [instruction, response]")},
    {.name = "prompt", FIELD(FIELD_PROMPT, "prompt_completion: the instruction"), .example = "question"},
    {.name = "completion", FIELD(FIELD_COMPLETION, "prompt_completion: the response"), .example = "answer"},
    {.name = "text", FIELD(FIELD_TEXT, "text: all of it")},
    {0},
};

static const struct key corpus_keys[] = {
    {.name = "name", .type = KEY_NAME, IN(conf_corpus, name), RANGE(1, 64), .example = "tulu",
     .help = "what streams call it"},
    {.name = "paths", .type = KEY_PATHS, .batches = true, IN(conf_corpus, paths), COUNT(conf_corpus, n_paths),
     RANGE(1, 4096), .example = "[\"/srv/data/tulu/*.jsonl\"]",
     .help = "files of the corpus; * ? and [] as in a shell"},
    {.name = "format", .type = KEY_CHOICE, .batches = true, IN(conf_corpus, format),
     CHOICES(corpus_format_names), .dflt = "auto",
     .help = "what a record looks like; auto: found out from the first records"},
    {.name = "duplicates", .type = KEY_CHOICE, .batches = true, IN(conf_corpus, duplicates),
     CHOICES(duplicates_names), .dflt = "keep",
     .help = "records with the same bytes as an earlier one of the corpus: keep them, or leave them out (counted)"},
    {.name = "not_text", .type = KEY_CHOICE, .batches = true, IN(conf_corpus, not_text),
     CHOICES(not_text_names), .dflt = "quarantine",
     .help = "images, audio, tool calls and their results, which no template expresses: quarantine the record, or "
             "leave them out and count them"},
    {.name = "fields", .type = KEY_GROUP, .optional = true, .batches = true, IN(conf_corpus, fields),
     .of = field_keys,
     .help = "the names that fields have in the file, where they differ from these; data.messages is messages in data"},
    {0},
};

static const struct key template_keys[] = {
    {.name = "name", .type = KEY_NAME, IN(conf_template, name), RANGE(1, 64), .example = "mine",
     .help = "what streams call it"},
    {.name = "begin", .type = KEY_TEXT, .optional = true, .batches = true, IN(conf_template, begin),
     RANGE(0, TEMPLATE_BYTES), .example = "\"{bos}\"",
     .help = "once, first"},
    {.name = "system", .type = KEY_TEXT, .optional = true, .batches = true, IN(conf_template, system),
     RANGE(0, TEMPLATE_BYTES), .example = "\"{content}\\n\\n\"",
     .help = "around a system prompt: {content} is its text, {symbol NAME} a symbol of the tokenizer"},
    {.name = "default_system", .type = KEY_TEXT, .optional = true, .batches = true,
     IN(conf_template, default_system), RANGE(1, TEMPLATE_BYTES), .example = "\"You are a helpful assistant.\"",
     .help = "the system prompt of a dialogue that has none"},
    {.name = "user", .type = KEY_TEXT, .batches = true, IN(conf_template, user), RANGE(1, TEMPLATE_BYTES),
     .example = "\"Question: {content}\\n\"",
     .help = "around an instruction"},
    {.name = "assistant", .type = KEY_TEXT, .batches = true, IN(conf_template, assistant),
     RANGE(1, TEMPLATE_BYTES), .example = "\"Answer: {content}{eos}\\n\"",
     .help = "around a response; trained are {content} and the first symbol after it"},
    {.name = "system_place", .type = KEY_CHOICE, .batches = true, IN(conf_template, system_place),
     CHOICES(system_place_names), .dflt = "before",
     .help = "where a system prompt goes: before all, or into the first or last instruction"},
    {.name = "joined", .type = KEY_BOOL, .batches = true, IN(conf_template, joined), .dflt = "false",
     .help = "text without a symbol in it is tokenised as one, across turns too; a symbol must end each response"},
    {0},
};

static const struct key share_keys[] = {
    {.name = "name", .type = KEY_NAME, .batches = true, IN(conf_share, corpus), RANGE(1, 64),
     .example = "tulu",
     .help = "a corpus from the list of corpora"},
    {.name = "repeat", .type = KEY_REAL, .batches = true, IN(conf_share, repeat), REALS(1e-6, 1e6),
     .dflt = "1.0",
     .help = "how often each of its records is in an epoch"},
    {0},
};

static const struct key position_keys[] = {
    {.name = "name", .type = KEY_NAME, .optional = true, .batches = true, IN(conf_positions, name), RANGE(1, 64),
     .help = "in a list: what it is called; without it, by its strategy"},
    {.name = "weight", .type = KEY_REAL, .optional = true, .batches = true, IN(conf_positions, weight),
     REALS(1e-9, 1e9),
     .help = "in a list: its share of the samples, against the other weights; 1 where it is left out"},
    {.name = "strategy", .type = KEY_CHOICE, .batches = true, IN(conf_positions, strategy),
     CHOICES(pos_strategy_names), .dflt = "skip_all",
     .help = "where position ids may jump: nowhere, before every block, inside turns, between turns; pose: at "
             "cuts into chunks; randpos, stretch: before every token; cream: around a middle part; "
             "longrecipe: between sentences; shift: nowhere, but all ids move, to check that a model sees no "
             "difference"},
    {.name = "sampler", .type = KEY_CHOICE, .batches = true, IN(conf_positions, sampler),
     CHOICES(pos_sampler_names), .dflt = "sorted",
     .help = "how the budget is dealt to the jumps of skip_all, skip_inner and skip_outer; the other "
             "strategies have rules of their own"},
    {.name = "max_position", .type = KEY_INT, .optional = true, .batches = true, .shown = true,
     IN(conf_positions, max_position), RANGE(1, INT32_MAX), .unit = "tokens", .example = "65536",
     .help = "every position id is below it: the context length to train for, at least seq_len; strategy "
             "none may leave it out (seq_len)"},
    {.name = "schedule", .type = KEY_STAGES, .optional = true, .batches = true, IN(conf_positions, schedule),
     COUNT(conf_positions, n_schedule), RANGE(0, 64), .unit = "epochs: tokens",
     .example = "{0.5: 131072, 1.5: 262144}",
     .help = "what max_position is from these points of the training on; where it begins with 0, max_position "
             "may be left out"},
    {.name = "probability", .type = KEY_REAL, .batches = true, IN(conf_positions, probability), REALS(0, 1),
     .dflt = "1.0",
     .help = "share of samples that skip; the others keep ids 0, 1, 2, ..."},
    {.name = "min_gap", .type = KEY_INT, .batches = true, IN(conf_positions, min_gap), RANGE(0, INT32_MAX),
     .unit = "tokens", .dflt = "0",
     .help = "each jump skips at least so many ids; below max_position, and for skip_all, skip_inner and "
             "skip_outer only"},
    {.name = "chunks", .type = KEY_INT, .batches = true, IN(conf_positions, chunks), RANGE(2, 1024),
     .dflt = "2",
     .help = "pose: pieces that a sample is cut into"},
    {0},
};

static const struct key stream_keys[] = {
    {.name = "name", .type = KEY_NAME, IN(conf_stream, name), RANGE(1, 64), .example = "chat",
     .help = "what trainers ask for"},
    {.name = "tokenizer", .type = KEY_PATH, .batches = true, IN(conf_stream, tokenizer), RANGE(1, PATH_BYTES),
     .example = "/srv/models/yi/tokenizer.model",
     .help = "SentencePiece model file"},
    {.name = "template", .type = KEY_NAME, .batches = true, IN(conf_stream, template_name), RANGE(1, 64),
     .example = "chatml",
     .help = "plain, alpaca, llama2, mistral-v1, mistral-v3, chatml, zephyr, tulu, vicuna, gemma, or one from the "
             "list of templates"},
    {.name = "corpora", .type = KEY_LIST, .batches = true, IN(conf_stream, corpora),
     COUNT(conf_stream, n_corpora), .size = sizeof(struct conf_share), RANGE(1, 1024), .of = share_keys,
     .help = "what it is mixed from"},
    {.name = "seq_len", .type = KEY_INT, .batches = true, IN(conf_stream, seq_len), RANGE(1, 1 << 24),
     .unit = "tokens", .example = "4096",
     .help = "length of a row"},
    {.name = "global_batch", .type = KEY_INT, .batches = true, IN(conf_stream, global_batch),
     RANGE(1, INT32_MAX), .unit = "rows", .example = "128",
     .help = "rows of one optimiser step, all ranks together"},
    {.name = "packing", .type = KEY_BOOL, .batches = true, IN(conf_stream, packing), .dflt = "true",
     .help = "several samples in a row; false: one sample in a row, padded"},
    {.name = "overlong", .type = KEY_CHOICE, .batches = true, IN(conf_stream, overlong),
     CHOICES(overlong_names), .dflt = "truncate",
     .help = "a sample longer than seq_len: cut its end off, leave it out, or split it between turns"},
    {.name = "train_on", .type = KEY_CHOICE, .batches = true, IN(conf_stream, train_on),
     CHOICES(train_on_names), .dflt = "all",
     .help = "all responses of a dialogue are trained, or the last only (what is too long loses its first turns then)"},
    {.name = "max_turns", .type = KEY_INT, .batches = true, IN(conf_stream, max_turns), RANGE(0, 1 << 24),
     .unit = "turns", .dflt = "0",
     .help = "at most so many instructions with their responses of a dialogue, the first ones; 0: all"},
    {.name = "last", .type = KEY_CHOICE, .batches = true, IN(conf_stream, last), CHOICES(last_step_names),
     .dflt = "drop",
     .help = "a last step with too few rows: leave it out (counted), or fill it with padding"},
    {.name = "seed", .type = KEY_INT, .batches = true, IN(conf_stream, seed), RANGE(0, INT64_MAX),
     .dflt = "0",
     .help = "of the order of samples and of the jumps"},
    {.name = "epochs", .type = KEY_INT, .batches = true, IN(conf_stream, epochs), RANGE(0, INT32_MAX),
     .dflt = "1",
     .help = "how often through the mixture; 0: for ever"},
    {.name = "max_unusable", .type = KEY_REAL, IN(conf_stream, max_unusable), REALS(0, 1), .dflt = "0.5",
     .help = "the stream stops when a larger share of a corpus cannot be used"},
    {.name = "special_tokens", .type = KEY_IDS, .optional = true, .batches = true,
     IN(conf_stream, special_tokens), COUNT(conf_stream, n_special_tokens), RANGE(0, 1024),
     .unit = "token ids", .example = "{\"<|im_start|>\": 32000, \"<|im_end|>\": 32001}",
     .help = "symbols that a fine-tuned model has beyond its tokenizer file"},
    {.name = "positions", .type = KEY_LIST, .lone = true, .batches = true, IN(conf_stream, positions),
     COUNT(conf_stream, n_positions), .size = sizeof(struct conf_positions), RANGE(1, 16), .of = position_keys,
     .help = "position ids: where they jump and how far; or a list of such groups, each with a weight, of which "
             "one is drawn for each sample"},
    {0},
};

const struct key schema_keys[] = {
    {.name = "state_dir", .type = KEY_PATH, .restart = true, IN(conf, state_dir), RANGE(1, PATH_BYTES),
     .dflt = "/var/lib/skipalign",
     .help = "folder for indexes, ledgers, decompressed copies and the timelines of streams"},
    {.name = "workers", .type = KEY_INT, .restart = true, IN(conf, workers), RANGE(1, 256), .unit = "threads", .dflt = "2",
     .help = "threads that render, tokenise and pack"},
    {.name = "memory", .type = KEY_BYTES, .restart = true, IN(conf, memory), RANGE(32 * MIB, 1024 * GIB), .dflt = "192MiB",
     .help = "bound for batches made and being made; indexes come on top, about 8 bytes a record"},
    {.name = "spool", .type = KEY_BYTES, .restart = true, IN(conf, spool), RANGE(0, 1024 * 1024 * GIB),
     .dflt = "100GiB",
     .help = "bound for decompressed copies of gzip and zstd files, kept in state_dir; 0: none are made"},
    {.name = "record_max", .type = KEY_BYTES, .batches = true, IN(conf, record_max), RANGE(KIB, GIB),
     .dflt = "16MiB",
     .help = "a larger record is not read but quarantined"},
    {.name = "io", .type = KEY_CHOICE, .restart = true, IN(conf, io), CHOICES(io_kind_names), .dflt = "auto",
     .help = "how files are read; auto: io_uring, or pread where the kernel refuses it"},
    {.name = "tokenizer", .type = KEY_GROUP, .restart = true, .of = tokenizer_keys,
     .help = "how text becomes ids, for all streams (a stream's own key of this name is its model)"},
    {.name = "feed", .type = KEY_GROUP, .restart = true, .of = feed_keys,
     .help = "doors for trainers; \"\" shuts one"},
    {.name = "control", .type = KEY_GROUP, .restart = true, .of = control_keys,
     .help = "the door for skipalignctl"},
    {.name = "corpora", .type = KEY_LIST, .batches = true, IN(conf, corpora), COUNT(conf, n_corpora),
     .size = sizeof(struct conf_corpus), RANGE(1, 1024), .of = corpus_keys,
     .help = "the data: JSONL, a JSON array, or text; as it is, or compressed by gzip or zstd"},
    {.name = "templates", .type = KEY_LIST, .optional = true, .batches = true, IN(conf, templates),
     COUNT(conf, n_templates), .size = sizeof(struct conf_template), RANGE(0, 256), .of = template_keys,
     .help = "templates of one's own"},
    {.name = "streams", .type = KEY_LIST, .batches = true, IN(conf, streams), COUNT(conf, n_streams),
     .size = sizeof(struct conf_stream), RANGE(1, 256), .of = stream_keys,
     .help = "what training jobs read"},
    {0},
};

/* clang-format on */

const struct key *schema_row(const char *name)
{
    const struct key *k = schema_keys;
    while (strcmp(k->name, name) != 0)
        k++;
    return k;
}

static const char *const type_names[KEY__COUNT] = {
    [KEY_TEXT] = "text",
    [KEY_NAME] = "name",
    [KEY_PATH] = "path",
    [KEY_ENDPOINT] = "ZeroMQ endpoint",
    [KEY_INT] = "whole number",
    [KEY_BYTES] = "size",
    [KEY_REAL] = "number",
    [KEY_BOOL] = "true or false",
    [KEY_CHOICE] = "choice",
    [KEY_PATHS] = "list of paths",
    [KEY_IDS] = "map of text to id",
    [KEY_STAGES] = "map of epoch to number",
    [KEY_GROUP] = "group",
    [KEY_LIST] = "list of groups",
};

const char *schema_type(const struct key *k)
{
    return k->lone ? "group, or list of groups" : type_names[k->type];
}

static void print_range(const struct key *k, FILE *f)
{
    switch (k->type) {
    case KEY_TEXT:
    case KEY_PATH:
        fprintf(f, "%" PRId64 "..%" PRId64 " bytes", k->min, k->max);
        break;
    case KEY_NAME:
        fputs("1..64 of A-Z a-z 0-9 . _ -", f);
        break;
    case KEY_ENDPOINT:
        fputs("tcp://HOST:PORT, ipc://PATH or \"\"", f);
        break;
    case KEY_INT:
        fprintf(f, "%" PRId64 "..%" PRId64, k->min, k->max);
        break;
    case KEY_BYTES:
        schema_print_bytes(k->min, f);
        fputs("..", f);
        schema_print_bytes(k->max, f);
        break;
    case KEY_REAL:
        fprintf(f, "%.10g..%.10g", k->real_min, k->real_max);
        break;
    case KEY_BOOL:
        fputs("true or false", f);
        break;
    case KEY_CHOICE:
        for (uint32_t i = 0; i < k->n_choices; i++)
            fprintf(f, "%s%s", i == 0 ? "" : i + 1 < k->n_choices ? ", " : " or ", k->choices[i]);
        break;
    case KEY_PATHS:
    case KEY_IDS:
    case KEY_STAGES:
    case KEY_LIST:
        fprintf(f, "%" PRId64 "..%" PRId64 " entries", k->min, k->max);
        break;
    default:
        break;
    }
}

void schema_print_bytes(int64_t bytes, FILE *f)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    int i = 0;
    for (; i < 3 && bytes != 0 && bytes % 1024 == 0; i++)
        bytes /= 1024;
    fprintf(f, "%" PRId64 "%s", bytes, units[i]);
}

const char *schema_range(const struct key *k, char ret[SCHEMA_RANGE])
{
    ret[0] = '\0';
    FILE *f = fmemopen(ret, SCHEMA_RANGE, "w");
    if (f != NULL) {
        print_range(k, f);
        (void)fclose(f);
    }
    return ret;
}
