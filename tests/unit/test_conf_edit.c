/* A configuration is edited value by value, and refused as a whole with every error by its name. */
#include "base/rng.h"
#include "config/diff.h"
#include "config/edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char base_text[] =
    "corpora:\n"
    "- {name: tulu, paths: [/d/a.jsonl]}\n"
    "- {name: code, paths: [/d/b.jsonl], fields: {text: body}}\n"
    "- {name: v1.2, paths: [/d/c.jsonl]}\n"
    "templates:\n"
    "- {name: mine, user: \"Q{content}\", assistant: \"A{content}\"}\n"
    "- {name: spare, user: \"Q{content}\", assistant: \"A{content}\"}\n"
    "streams:\n"
    "- {name: chat, tokenizer: m, template: mine, corpora: [{name: tulu}, {name: v1.2, repeat: 2}],\n"
    "   seq_len: 4096, global_batch: 8, positions: {max_position: 65536}}\n"
    "- {name: plain, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 128, global_batch: 1,\n"
    "   positions: {strategy: none}}\n";

static const char mixed_text[] =
    "corpora: [{name: tulu, paths: [/d/a.jsonl]}]\n"
    "streams:\n"
    "- {name: chat, tokenizer: m, template: plain, corpora: [{name: tulu}], seq_len: 8, global_batch: 1,\n"
    "   positions: [{max_position: 16, weight: 7}, {strategy: pose, max_position: 16},\n"
    "               {name: far, strategy: pose, max_position: 64, weight: 0.5}]}\n";

/* What is edited. */
static const char *edited_text = base_text;

static struct conf *base(void)
{
    struct conf *c = NULL;
    struct conf_errors errors = {0};
    if (conf_parse("/etc/skipalign/c.yaml", edited_text, strlen(edited_text), &c, &errors) != 0)
        fail_msg("%s", errors.text);
    return c;
}

#define EDITS_MAX 8

/* One "NAME = VALUE" a line, or "NAME" alone to take it out. */
static uint32_t read_edits(char *text, struct conf_edit edits[EDITS_MAX])
{
    uint32_t n = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *value = strstr(line, " = ");
        assert_true(n < EDITS_MAX);
        if (value != NULL)
            *value = '\0';
        edits[n++] = (struct conf_edit){line, value != NULL ? value + 3 : NULL};
    }
    return n;
}

/* What differs after the edits: "NAME: BEFORE -> AFTER", one a line. */
static void changes_to(const char *edits_text, const char *expected)
{
    char copy[2048], told[4096] = "";
    struct conf_edit edits[EDITS_MAX];
    struct conf *c = base(), *edited = NULL;
    struct conf_errors errors = {0};
    struct conf_change *changes;
    uint32_t n_changes;
    size_t used = 0;
    (void)snprintf(copy, sizeof copy, "%s", edits_text);
    uint32_t n = read_edits(copy, edits);
    if (conf_edit(c, edits, n, &edited, &errors) != 0)
        fail_msg("%s\nrefused: %s", edits_text, errors.text);
    assert_null(errors.text);
    assert_string_equal(edited->path, c->path);
    assert_int_equal(conf_diff(c, edited, &changes, &n_changes), 0);
    for (uint32_t i = 0; i < n_changes; i++)
        used += (size_t)snprintf(told + used, sizeof told - used, "%s: %s -> %s\n", changes[i].name,
                                 changes[i].before != NULL ? changes[i].before : "none",
                                 changes[i].after != NULL ? changes[i].after : "none");
    assert_string_equal(told, expected);
    conf_changes_free(changes, n_changes);
    conf_free(edited);
    conf_free(c);
}

static void test_every_kind_of_value_changes(void **state)
{
    (void)state;
    static const struct {
        const char *edits, *changes;
    } cases[] = {
        {"", ""},
        {"workers = 4", "workers: 2 -> 4\n"},
        {"memory = 1GiB", "memory: 192MiB -> 1GiB\n"},
        {"io = pread", "io: auto -> pread\n"},
        {"tokenizer.path = library", "tokenizer.path: auto -> library\n"},
        {"tokenizer.verify = 1", "tokenizer.verify: 4096 -> 1\n"},
        {"feed.listen = ", "feed.listen: tcp://127.0.0.1:5757 -> \n"},
        {"feed = {listen: \"\"}", "feed.listen: tcp://127.0.0.1:5757 -> \n"},
        {"chat.positions.max_position = 131072", "chat.positions.max_position: 65536 -> 131072\n"},
        {"streams.chat.seed = 5", "chat.seed: 0 -> 5\n"},
        {"chat.packing = false", "chat.packing: true -> false\n"},
        {"chat.max_unusable = 1e-2", "chat.max_unusable: 0.5 -> 0.01\n"},
        {"chat.positions.strategy = skip_inner", "chat.positions.strategy: skip_all -> skip_inner\n"},
        {"chat.tokenizer = /srv/m.model", "chat.tokenizer: /etc/skipalign/m -> /srv/m.model\n"},
        {"chat.tokenizer = ../m", "chat.tokenizer: /etc/skipalign/m -> /etc/skipalign/../m\n"},
        {"chat.special_tokens = {\"<|a|>\": 7}", "chat.special_tokens: none -> {\"<|a|>\": 7}\n"},
        {"corpora.tulu.format = text", "corpora.tulu.format: auto -> text\n"},
        {"corpora.tulu.paths = [x, '/y z']",
         "corpora.tulu.paths: [\"/d/a.jsonl\"] -> [\"/etc/skipalign/x\", \"/y z\"]\n"},
        {"corpora.tulu.paths = *.jsonl",
         "corpora.tulu.paths: [\"/d/a.jsonl\"] -> [\"/etc/skipalign/*.jsonl\"]\n"},
        {"corpora.tulu.fields.text = body", "corpora.tulu.fields.text: none -> body\n"},
        {"corpora.code.fields = {prompt: q}",
         "corpora.code.fields.prompt: none -> q\ncorpora.code.fields.text: body -> none\n"},
        {"corpora.v1.2.format = text", "corpora.v1.2.format: auto -> text\n"},
        {"chat.corpora.v1.2.repeat = 0.5", "chat.corpora.v1.2.repeat: 2 -> 0.5\n"},
        /* texts with and without quotes */
        {"templates.mine.begin = {bos}", "templates.mine.begin: none -> {bos}\n"},
        {"templates.mine.user = Q: {content} # not a comment",
         "templates.mine.user: Q{content} -> Q: {content} # not a comment\n"},
        {"templates.mine.user = \"Q: {content}\\t\"", "templates.mine.user: Q{content} -> Q: {content}\t\n"},
        {"templates.mine.user = 'it''s {content}'", "templates.mine.user: Q{content} -> it's {content}\n"},
        {"templates.mine.system = ~", "templates.mine.system: none -> ~\n"},
        /* several, in their order */
        {"chat.seq_len = 70000\nchat.positions.max_position = 70000",
         "chat.seq_len: 4096 -> 70000\nchat.positions.max_position: 65536 -> 70000\n"},
        /* what follows from another key follows */
        {"plain.seq_len = 256", "plain.seq_len: 128 -> 256\nplain.positions.max_position: 128 -> 256\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        changes_to(cases[i].edits, cases[i].changes);
}

#define CODE                                                                                          \
    "{paths: [\"/d/b.jsonl\"], format: auto, duplicates: keep, not_text: quarantine, fields: {text: " \
    "\"body\"}}"

static void test_elements_come_and_go(void **state)
{
    (void)state;
    static const struct {
        const char *edits, *changes;
    } cases[] = {
        {"corpora.new = {paths: [/n], format: text}",
         "corpora.new: none -> {paths: [\"/n\"], format: text, duplicates: keep, not_text: quarantine}\n"},
        {"corpora.new = {name: new, paths: [/n]}",
         "corpora.new: none -> {paths: [\"/n\"], format: auto, duplicates: keep, not_text: quarantine}\n"},
        {"corpora.new.paths = /n\ncorpora.new.format = text\ncorpora.new.fields.text = t",
         "corpora.new: none -> {paths: [\"/n\"], format: text, duplicates: keep, not_text: quarantine, "
         "fields: {text: \"t\"}}\n"},
        {"corpora.new.format = text\ncorpora.new.paths = [/n]\nchat.corpora.new.repeat = 3",
         "corpora.new: none -> {paths: [\"/n\"], format: text, duplicates: keep, not_text: "
         "quarantine}\nchat.corpora.new: none -> "
         "{repeat: 3}\n"},
        /* a name with dots, also one that begins as another does */
        {"corpora.tulu.v2 = {paths: [/n]}", "corpora.tulu.v2: none -> {paths: [\"/n\"], format: auto, "
                                            "duplicates: keep, not_text: quarantine}\n"},
        {"corpora.tulu.v2.paths = /n", "corpora.tulu.v2: none -> {paths: [\"/n\"], format: auto, duplicates: "
                                       "keep, not_text: quarantine}\n"},
        {"corpora.v1.3.paths = /n\nchat.corpora.v1.3.repeat = 1",
         "corpora.v1.3: none -> {paths: [\"/n\"], format: auto, duplicates: keep, not_text: "
         "quarantine}\nchat.corpora.v1.3: none "
         "-> {repeat: 1}\n"},
        /* close to another's name, but with all it needs */
        {"corpora.tulu2.paths = /n",
         "corpora.tulu2: none -> {paths: [\"/n\"], format: auto, duplicates: keep, not_text: quarantine}\n"},
        {"chat.corpora = [{name: code, repeat: 2}]",
         "chat.corpora.tulu: {repeat: 1} -> none\nchat.corpora.v1.2: {repeat: 2} -> none\n"
         "chat.corpora.code: none -> {repeat: 2}\n"},
        {"chat.corpora = [{name: v1.2, repeat: 2}, {name: tulu}]",
         "chat.corpora: [{name: \"tulu\", repeat: 1}, {name: \"v1.2\", repeat: 2}] -> "
         "[{name: \"v1.2\", repeat: 2}, {name: \"tulu\", repeat: 1}]\n"},
        {"chat.corpora.code = {}", "chat.corpora.code: none -> {repeat: 1}\n"},
        {"streams.new = {tokenizer: /m, template: mine, corpora: [{name: code}], seq_len: 8, global_batch: "
         "1, "
         "positions: {strategy: none}}",
         "streams.new: none -> {tokenizer: \"/m\", template: \"mine\", corpora: [{name: \"code\", repeat: "
         "1}], "
         "seq_len: 8, global_batch: 1, packing: true, overlong: truncate, train_on: all, max_turns: 0, last: "
         "drop, seed: 0, epochs: 1, "
         "max_unusable: 0.5, positions: {strategy: none, sampler: sorted, probability: 1, min_gap: 0, "
         "chunks: "
         "2}}\n"},
        {"templates.new = {user: '{content}', assistant: '{content}'}",
         "templates.new: none -> {user: \"{content}\", assistant: \"{content}\", system_place: before, "
         "joined: false}\n"},
        /* a whole one takes the other's place */
        {"corpora.tulu = {paths: [/n], format: text}",
         "corpora.tulu.paths: [\"/d/a.jsonl\"] -> [\"/n\"]\ncorpora.tulu.format: auto -> text\n"},
        /* and they go */
        {"corpora.code", "corpora.code: " CODE " -> none\n"},
        {"chat.corpora.tulu", "chat.corpora.tulu: {repeat: 1} -> none\n"},
        {"corpora.v1.2\nchat.corpora.v1.2",
         "corpora.v1.2: {paths: [\"/d/c.jsonl\"], format: auto, duplicates: keep, not_text: quarantine} -> "
         "none\nchat.corpora.v1.2: {repeat: 2} -> none\n"},
        {"templates.spare\ntemplates.mine\nchat.template = plain",
         "templates.mine: {user: \"Q{content}\", assistant: \"A{content}\", system_place: before, joined: "
         "false} -> none\n"
         "templates.spare: {user: \"Q{content}\", assistant: \"A{content}\", system_place: before, joined: "
         "false} -> none\n"
         "chat.template: mine -> plain\n"},
        {"corpora.code.fields.text", "corpora.code.fields.text: body -> none\n"},
        {"corpora.code.fields", "corpora.code.fields.text: body -> none\n"},
        {"corpora.tulu.fields.text", ""},
        {"chat.corpora.v1.2.repeat", "chat.corpora.v1.2.repeat: 2 -> 1\n"},
        {"plain.positions.strategy = none\nworkers", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        changes_to(cases[i].edits, cases[i].changes);
    changes_to("plain",
               "streams.plain: {tokenizer: \"/etc/skipalign/m\", template: \"plain\", corpora: [{name: "
               "\"tulu\", repeat: 1}], seq_len: 128, global_batch: 1, packing: true, overlong: truncate, "
               "train_on: all, max_turns: 0, last: drop, seed: 0, epochs: 1, max_unusable: 0.5, positions: "
               "{strategy: none, sampler: "
               "sorted, probability: 1, min_gap: 0, chunks: 2}} -> none\n");
}

static char *refusal(const char *edits_text)
{
    char copy[2048];
    struct conf_edit edits[EDITS_MAX];
    struct conf *c = base(), *edited = NULL;
    struct conf_errors errors = {0};
    (void)snprintf(copy, sizeof copy, "%s", edits_text);
    uint32_t n = read_edits(copy, edits);
    if (conf_edit(c, edits, n, &edited, &errors) != ERR_CONFIG)
        fail_msg("taken, though wrong: %s", edits_text);
    assert_null(edited);
    conf_free(c);
    return errors.text;
}

static void test_each_error_names_its_key(void **state)
{
    (void)state;
    static const struct {
        const char *edits, *error;
    } cases[] = {
        /* names */
        {"chat.seqlen = 8", "chat.seqlen: no such key; did you mean \"seq_len\"?\n"},
        {"cht.seq_len = 8", "cht.seq_len: no such key or stream; did you mean \"chat\"?\n"},
        {"worker = 8", "worker: no such key or stream; did you mean \"workers\"?\n"},
        {"zzzzzzzz = 8", "zzzzzzzz: no such key or stream; there are state_dir, workers, memory, spool, "
                         "record_max, io, tokenizer, "
                         "feed, control, corpora, templates, streams, chat, plain\n"},
        {"chat.positions.max_positon = 8",
         "chat.positions.max_positon: no such key; did you mean \"max_position\"?\n"},
        {"chat.positions.seed = 8",
         "chat.positions.seed: no such key; there are "
         "name, weight, strategy, sampler, max_position, schedule, probability, min_gap, chunks\n"},
        {"chat.seq_len.x = 8",
         "chat.seq_len.x: no such key; seq_len is a whole number and has no keys in it\n"},
        {"corpora.tulu.formt = text", "corpora.tulu.formt: no such key; did you mean \"format\"?\n"},
        {"corpora.tulu.feilds = {text: x}", "corpora.tulu.feilds: no such key; did you mean \"fields\"?\n"},
        {"corpora.tlu.format = text", "corpora.tlu.format: no such corpus; did you mean \"tulu\"?\n"},
        {"corpora.tlu", "corpora.tlu: no such corpus; did you mean \"tulu\"?\n"},
        {"chat.corpora.code", "chat.corpora.code: no such corpus; there are tulu, v1.2\n"},
        {"templates.min.user = x", "templates.min.user: no such template; did you mean \"mine\"?\n"},
        {"streams.plan", "streams.plan: no such stream; did you mean \"plain\"?\n"},
        {"corpora.tulu.name = other",
         "corpora.tulu.name: a name stays; take the element out and add another\n"},
        {"corpora.new = {name: other, paths: [/n]}", "corpora.new: has another name in it; leave it out\n"},
        {"corpora... = {paths: [/n]}",
         "corpora...: \"..\" cannot be a name; allowed are 1 to 64 letters, digits, "
         "'.', '_' and '-', but not \".\" or \"..\"\n"},
        {"a\x1b[31m = 8", "a\\x1b[31m: no such key; names of keys, streams and corpora have letters, digits, "
                          "'.', '_' and '-'\n"},
        {"workers = 3\nworkers = 4", "workers: is given twice; leave one out\n"},
        /* values */
        {"workers = 0", "workers: \"0\" is out of range; allowed is 1..256 threads\n"},
        {"workers = two", "workers: \"two\" is no whole number; allowed is 1..256 threads\n"},
        {"workers = ", "workers: has no value; wanted is a whole number (1..256)\n"},
        {"workers = '2'", "workers: is text, \"2\"; wanted is a whole number (1..256), without quotes\n"},
        {"chat.positions.sampler = sortd",
         "chat.positions.sampler: \"sortd\" is not one of sorted, sequential, even or pinned; did you mean "
         "\"sorted\"?\n"},
        {"chat.positions = 5",
         "chat.positions: is a single value; wanted is a group of keys ({KEY: VALUE, ...})\n"},
        {"corpora.tulu = [a]", "corpora.tulu: is a list; wanted is a group of keys ({KEY: VALUE, ...})\n"},
        {"chat.corpora = {tulu: 2}",
         "chat.corpora: is a group of keys; wanted is a list of groups ([{name: ..., ...}, ...])\n"},
        {"chat.corpora = [{name: tulu}, {name: tulu}]",
         "chat.corpora.tulu: is in the list twice; each name may be there once\n"},
        {"chat.corpora = [{name: a/b}]",
         "chat.corpora[0].name: \"a/b\" cannot be a name; allowed are 1 to 64 "
         "letters, digits, '.', '_' and '-', but not \".\" or \"..\"\n"},
        {"chat.corpora = []", "chat.corpora: is empty (0 entries); allowed are 1..1024 entries\n"},
        {"chat.corpora = [{name: tulu, repeat: -1}]",
         "chat.corpora.tulu.repeat: \"-1\" is out of range; allowed is 1e-06..1000000\n"},
        {"chat.corpora = [{name: tulu",
         "chat.corpora: not YAML: did not find expected ',' or '}', while parsing a "
         "flow mapping\n"},
        {"chat.corpora = [&a {name: tulu}]",
         "chat.corpora: anchors (&name) are not taken here; write the value out\n"},
        {"chat.seq_len = !!int 8\nchat.seed = !x 8", "chat.seed: has a tag (!x), which means nothing here\n"},
        {"templates.mine.user = a\xff", "templates.mine.user: the value is not UTF-8 text\n"},
        {"templates.mine.user = \"a\xff\"", "templates.mine.user: invalid leading UTF-8 octet; wanted is "
                                            "UTF-8 text without control characters\n"},
        {"corpora.tulu.paths = []",
         "corpora.tulu.paths: is empty (0 entries); allowed are 1..4096 entries\n"},
        {"corpora.new = {path: [/n]}",
         "corpora.new.path: no such key; did you mean \"paths\"?\n"
         "corpora.new.paths: is missing; wanted is a list of paths (1..4096 entries): "
         "files of the corpus; * ? and [] as in a shell\n"},
        {"corpora.fresh.format = text", "corpora.fresh.paths: is missing; wanted is a list of paths (1..4096 "
                                        "entries): files of the corpus; * ? and [] as in a shell\n"},
        /* what goes together */
        {"chat.seq_len = 70000",
         "chat.positions.max_position: 65536 is below seq_len (70000): a sample as long as "
         "a row would not fit; raise max_position or lower seq_len\n"},
        {"chat.corpora.cod.repeat = 2",
         "chat.corpora.cod: there is no corpus \"cod\"; did you mean \"code\"?\n"},
        {"corpora.tulu", "corpora.tulu: stream chat is mixed from it; take chat.corpora.tulu out as well\n"},
        {"corpora.tulu\nplain",
         "corpora.tulu: stream chat is mixed from it; take chat.corpora.tulu out as well\n"},
        {"templates.mine", "templates.mine: stream chat uses it; give chat.template another first\n"},
        {"chat\nplain", "streams: is empty (0 entries); allowed are 1..256 entries\n"},
        {"chat.tokenizer",
         "chat.tokenizer: is missing; wanted is a path (1..4096 bytes): SentencePiece model "
         "file\n"},
        {"feed.listen = \nfeed.subscribe = ",
         "feed.listen: both doors of the feed are shut (\"\"); open listen or "
         "subscribe, so that a trainer can come in\n"},
        {"plain.positions.strategy = skip_all", "plain.positions.max_position: is missing; strategy skip_all "
                                                "needs it: the context length to train for, "
                                                "at least seq_len\n"},
        {"chat.positions = {}",
         "chat.positions.max_position: is missing; strategy skip_all needs it: the context "
         "length to train for, at least seq_len\n"},
        /* edits that build on a wrong one */
        {"streams.x = {corpora: 5, tokenizer: m, template: plain, seq_len: 1, global_batch: 1, positions: "
         "{strategy: none}}\nx.corpora.tulu.repeat = 2",
         "x.corpora: is a single value; wanted is a list of groups (- name: ...)\n"},
        {"chat.corpora = [5, {name: tulu}]\nchat.corpora.tulu.repeat = 2",
         "chat.corpora[0]: is a single value; wanted is a group of keys\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = refusal(cases[i].edits);
        if (strcmp(text, cases[i].error) != 0)
            fail_msg("%s\ngave: %swanted: %s", cases[i].edits, text, cases[i].error);
        free(text);
    }
}

#define SKIP_ALL(max) "sampler: sorted, max_position: " max ", probability: 1, min_gap: 0, chunks: 2}"

static void test_positions_become_a_mixture_and_one_again(void **state)
{
    (void)state;
    changes_to("chat.positions.schedule = {0.5: 131072, 0: 8192}",
               "chat.positions.schedule: none -> {0: 8192, 0.5: 131072}\n");
    changes_to("chat.positions = {strategy: pose, max_position: 9999, chunks: 4}",
               "chat.positions.strategy: skip_all -> pose\nchat.positions.max_position: 65536 -> 9999\n"
               "chat.positions.chunks: 2 -> 4\n");
    changes_to("chat.positions = [{max_position: 65536, weight: 7}, {name: p, strategy: pose, max_position: "
               "8192}]\nchat.positions.p.weight = 3",
               "chat.positions: {strategy: skip_all, " SKIP_ALL(
                   "65536") " -> "
                            "[{name: \"skip_all\", weight: 7, strategy: skip_all, " SKIP_ALL(
                                "65536") ", "
                                         "{name: \"p\", weight: 3, strategy: pose, " SKIP_ALL("8192") "]\n");
    edited_text = mixed_text;
    changes_to("chat.positions.far.schedule = {1.5: 32}", "chat.positions.far.schedule: none -> {1.5: 32}\n");
    changes_to(
        "chat.positions.skip_all.weight = 1\nchat.positions.pose",
        "chat.positions.skip_all.weight: 7 -> 1\nchat.positions.pose: {weight: 1, strategy: pose, " SKIP_ALL(
            "16") " -> none\n");
    changes_to("chat.positions.none = {strategy: none, weight: 2}",
               "chat.positions.none: none -> {weight: 2, strategy: none, sampler: sorted, max_position: 8, "
               "probability: 1, min_gap: 0, chunks: 2}\n");
    changes_to("chat.positions = {max_position: 16}",
               "chat.positions: [{name: \"skip_all\", weight: 7, strategy: skip_all, " SKIP_ALL(
                   "16") ", "
                         "{name: \"pose\", weight: 1, strategy: pose, " SKIP_ALL(
                             "16") ", "
                                   "{name: \"far\", weight: 0.5, strategy: pose, " SKIP_ALL(
                                       "64") "] -> {strategy: skip_all, " SKIP_ALL("16") "\n");
    static const struct {
        const char *edits, *error;
    } wrong[] = {
        {"chat.positions.max_position = 32",
         "chat.positions.max_position: positions is a list here; say of which element, as in "
         "positions.skip_all.KEY\n"},
        {"chat.positions.far.weight = 0",
         "chat.positions.far.weight: \"0\" is out of range; allowed is 1e-09..1000000000\n"},
        {"chat.positions = []", "chat.positions: is empty (0 entries); allowed are 1..16 entries\n"},
        {"chat.positions = {max_position: 9, weight: 2}",
         "chat.positions.weight: is for a list of groups, and this is one alone; leave it out\n"},
        {"chat.positions.far.schedule = {1: 4}", "chat.positions.far.schedule: 4 is below seq_len (8): a "
                                                 "sample as long as a row would not fit; raise "
                                                 "max_position or lower seq_len\n"},
        {"chat.positions = [5]\nchat.positions.max_position = 3",
         "chat.positions[0]: is a single value; wanted is a group of keys\n"
         "chat.positions.max_position: positions is a list here; say of which element, as in "
         "positions.NAME.KEY\n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *text = refusal(wrong[i].edits);
        if (strcmp(text, wrong[i].error) != 0)
            fail_msg("%s\ngave: %swanted: %s", wrong[i].edits, text, wrong[i].error);
        free(text);
    }
    edited_text = base_text;
}

static void test_all_errors_come_at_once_in_the_order_of_the_edits(void **state)
{
    (void)state;
    char *text = refusal("workers = 999\nchat.sed = 1\nplain.seq_len = x\nchat.positions.min_gap = 65536");
    assert_string_equal(text, "workers: \"999\" is out of range; allowed is 1..256 threads\n"
                              "chat.sed: no such key; did you mean \"seed\"?\n"
                              "plain.seq_len: \"x\" is no whole number; allowed is 1..16777216 tokens\n"
                              "chat.positions.min_gap: 65536 leaves no room below max_position (65536)\n");
    free(text);
}

static void test_nesting_is_bounded(void **state)
{
    (void)state;
    char value[4096];
    memset(value, '[', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    struct conf *c = base(), *edited = NULL;
    struct conf_errors errors = {0};
    const struct conf_edit edit = {"chat.corpora", value};
    assert_int_equal(conf_edit(c, &edit, 1, &edited, &errors), ERR_CONFIG);
    assert_string_equal(errors.text,
                        "chat.corpora: lists and groups are nested too deep; no key is deeper than "
                        "level 6\n");
    conf_errors_fini(&errors);
    conf_free(c);
}

/* Names and values put together from pieces, always the same ones. */
static void random_edit(struct rng *r, char name[256], char value[512], struct conf_edit *ret)
{
    static const char *const names[] = {
        "chat",    "plain", "corpora",        "templates", "streams",  "tulu",    "code",
        "v1",      "2",     "mine",           "positions", "strategy", "name",    "repeat",
        "format",  "paths", "fields",         "text",      "new",      "feed",    "listen",
        "workers", "user",  "special_tokens", "chunk",     "",         "seq_len", "template"};
    static const char *const values[] = {"{",    "}",       "[",      "]",    ", ",        ": ",       "name",
                                         "tulu", "8",       "0",      "text", "new",       "repeat",   "'",
                                         "\"",   "&a ",     "*a",     "~",    "\n",        "- ",       "{}",
                                         "[]",   "paths",   "format", "!x ",  "\xff",      "plain",    "/n",
                                         "none", "corpora", "#",      "? ",   "tokenizer", "{content}"};
    static const char *const whole[] = {"chat.corpora.tulu.repeat",
                                        "corpora.tulu.paths",
                                        "chat.corpora",
                                        "templates.mine.user",
                                        "workers",
                                        "corpora.new",
                                        "chat.special_tokens",
                                        "corpora.code",
                                        "plain.template"};
    size_t n = 0;
    name[0] = value[0] = '\0';
    if (rng_below(r, 2) == 0)
        n += (size_t)snprintf(name, 256, "%s", whole[rng_below(r, sizeof whole / sizeof whole[0])]);
    for (uint32_t i = n > 0 ? rng_below(r, 6) / 5 : 1 + rng_below(r, 5); i > 0; i--)
        n += (size_t)snprintf(name + n, 256 - n, "%s%s", n > 0 ? "." : "",
                              names[rng_below(r, sizeof names / sizeof names[0])]);
    n = 0;
    for (uint32_t i = rng_below(r, 2) == 0 ? 1 : rng_below(r, 10); i > 0; i--)
        n += (size_t)snprintf(value + n, 512 - n, "%s",
                              values[rng_below(r, sizeof values / sizeof values[0])]);
    *ret = (struct conf_edit){name, rng_below(r, 6) == 0 ? NULL : value};
}

static void test_any_edit_is_taken_or_refused_with_a_reason(void **state)
{
    (void)state;
    struct conf *c = base();
    uint32_t taken = 0, refused = 0;
    for (uint32_t round = 0; round < 4000; round++) {
        struct rng r;
        char names[3][256], values[3][512];
        struct conf_edit edits[3];
        struct conf *edited = NULL;
        struct conf_errors errors = {0};
        rng_init(&r, (struct rng_key){.seed = 3, .record = round});
        uint32_t n = 1 + rng_below(&r, 3);
        for (uint32_t i = 0; i < n; i++)
            random_edit(&r, names[i], values[i], &edits[i]);
        int rc = conf_edit(c, edits, n, &edited, &errors);
        if (rc == 0) {
            taken++;
            assert_null(errors.text);
            conf_free(edited);
        } else {
            refused++;
            assert_int_equal(rc, ERR_CONFIG);
            assert_true(errors.n > 0 && strlen(errors.text) > 0);
            conf_errors_fini(&errors);
        }
    }
    conf_free(c);
    /* Both ways are gone, or the pieces are too good or too bad. */
    assert_true(taken > 100 && refused > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_value_changes),
        cmocka_unit_test(test_elements_come_and_go),
        cmocka_unit_test(test_each_error_names_its_key),
        cmocka_unit_test(test_positions_become_a_mixture_and_one_again),
        cmocka_unit_test(test_all_errors_come_at_once_in_the_order_of_the_edits),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_any_edit_is_taken_or_refused_with_a_reason),
    };
    return cmocka_run_group_tests_name("conf_edit", tests, NULL, NULL);
}
