#include "text/template.h"

#include "base/array.h"
#include "base/nearest.h"
#include "text/template_ops.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const template_system_place_names[SYSTEM_PLACE__COUNT] = {"before", "first_user", "last_user"};

/* A template as written, built in or the configuration's. */
struct strings {
    const char *name, *begin, *system, *default_system, *user, *assistant;
    enum template_system_place system_place;
    bool joined;
};

/* clang-format off */
static const struct strings built_in[] = {
    {.name = "plain",
     .begin = "{bos?}",
     .system = "{content}\n\n",
     .user = "{content}\n",
     .assistant = "{content}\n{eos?}"},

    /* Source: tatsu-lab/stanford_alpaca, train.py. The prompt, up to "### Response:", is one piece, as it is when the
     * trained model is asked; so that header stays in the instruction's block, like [/INST] below. */
    {.name = "alpaca",
     .begin = "{bos}Below is an instruction that describes a task. Write a response that appropriately completes the "
              "request.\n\n",
     .system = "{content}\n\n",
     .user = "### Instruction:\n{content}\n\n### Response:",
     .assistant = "{content}{eos}"},

    /* Source: meta-llama/llama, llama/generation.py, chat_completion: every turn starts with a bos of its own. */
    {.name = "llama2",
     .begin = "{bos}",
     .system = "<<SYS>>\n{content}\n<</SYS>>\n\n",
     .user = "{bos}[INST] {content trim} [/INST]",
     .assistant = "{content trim} {eos}",
     .system_place = SYSTEM_FIRST_USER},

    /* Source: mistral-common 1.13.1, tokens/tokenizers/instruct.py: InstructTokenizerV1, InstructTokenizerV3. */
    {.name = "mistral-v1",
     .begin = "{bos}",
     .system = "{content}\n\n",
     .user = "[INST] {content} [/INST]",
     .assistant = "{content}{eos}",
     .system_place = SYSTEM_FIRST_USER},
    {.name = "mistral-v3",
     .begin = "{bos}",
     .system = "{content}\n\n",
     .user = "{symbol [INST]}{content}{symbol [/INST]}",
     .assistant = "{content trim-end-spaces}{eos}",
     .system_place = SYSTEM_LAST_USER},

    /* Source: openai/openai-python v0.27, chatml.md. */
    {.name = "chatml",
     .system = "{symbol <|im_start|>}system\n{content}{symbol <|im_end|>}\n",
     .user = "{symbol <|im_start|>}user\n{content}{symbol <|im_end|>}\n",
     .assistant = "{symbol <|im_start|>}assistant\n{content}{symbol <|im_end|>}\n"},

    /* The texts of the next three have no bos: those who trained the models left it to their tokenizers, which put one
     * before each text. "<|user|>" and its like are text, no symbols.
     * Source: HuggingFaceH4/zephyr-7b-beta, tokenizer_config.json. */
    {.name = "zephyr",
     .begin = "{bos?}",
     .system = "<|system|>\n{content}{eos}\n",
     .user = "<|user|>\n{content}{eos}\n",
     .assistant = "<|assistant|>\n{content}{eos}\n",
     .joined = true},

    /* Source: allenai/open-instruct, open_instruct/finetune.py (Tulu 2): the chat template that it sets, and the system
     * prompts of _concat_messages. Differs: that trims all turns, the chat template none. */
    {.name = "tulu",
     .begin = "{bos?}",
     .system = "<|system|>\n{content}\n",
     .user = "<|user|>\n{content}\n",
     .assistant = "<|assistant|>\n{content}{eos}\n",
     .joined = true},

    /* Source: FastChat 0.2.36, fastchat/conversation.py, vicuna_v1.1. */
    {.name = "vicuna",
     .begin = "{bos?}",
     .system = "{content} ",
     .default_system = "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
                       "helpful, detailed, and polite answers to the user's questions.",
     .user = "USER: {content} ",
     .assistant = "ASSISTANT: {content}{eos}",
     .joined = true},

    /* Source: google/gemma-3-1b-it, tokenizer_config.json. Gemma 1 and 2 refuse system prompts and say the rest alike. */
    {.name = "gemma",
     .begin = "{bos}",
     .system = "{content}\n\n",
     .user = "{symbol <start_of_turn>}user\n{content trim-turn}{symbol <end_of_turn>}\n",
     .assistant = "{symbol <start_of_turn>}model\n{content trim-turn}{symbol <end_of_turn>}\n",
     .system_place = SYSTEM_FIRST_USER},
};
/* clang-format on */
enum { N_BUILT_IN = sizeof built_in / sizeof *built_in };

static int add_op(struct part *p, struct op op)
{
    int rc = array_grow(&p->ops, &p->ops_cap, p->n_ops + 1);
    if (rc == 0)
        p->ops[p->n_ops++] = op;
    return rc;
}

static int add_text(struct part *p, const char *from, const char *to)
{
    return from == to ? 0 : add_op(p, (struct op){.kind = OP_TEXT, .text = {from, (size_t)(to - from)}});
}

static int add_symbol(struct template *t, struct part *p, int32_t id)
{
    if (tokenizer_in_text(t->tok, id)) {
        int rc = array_grow(&t->unwanted, &t->unwanted_cap, t->n_unwanted + 1);
        if (rc != 0)
            return rc;
        t->unwanted[t->n_unwanted++] = id;
    }
    return add_op(p, (struct op){.kind = OP_SYMBOL, .id = id});
}

/* What stands between braces, but for {symbol NAME}. */
enum word_kind { WORD_CONTENT, WORD_BOS, WORD_EOS };
static const struct word {
    const char *text;
    enum word_kind kind;
    enum trim trim;
    bool optional;
} words[] = {
    {.text = "content", .kind = WORD_CONTENT},
    {.text = "content trim", .kind = WORD_CONTENT, .trim = TRIM_AROUND},
    {.text = "content trim-turn", .kind = WORD_CONTENT, .trim = TRIM_TURN},
    {.text = "content trim-end-spaces", .kind = WORD_CONTENT, .trim = TRIM_END_SPACES},
    {.text = "bos", .kind = WORD_BOS},
    {.text = "bos?", .kind = WORD_BOS, .optional = true},
    {.text = "eos", .kind = WORD_EOS},
    {.text = "eos?", .kind = WORD_EOS, .optional = true},
};
enum { N_WORDS = sizeof words / sizeof *words };

static int unknown_word(struct slice inside, struct err *reterr)
{
    const char *choices[N_WORDS];
    char word[64];
    for (size_t i = 0; i < N_WORDS; i++)
        choices[i] = words[i].text;
    (void)snprintf(word, sizeof word, "%.*s", (int)inside.size, inside.data);
    const char *close = nearest(word, choices, N_WORDS);
    return err_set(reterr, ERR_CONFIG,
                   "{%s} is not known%s%s%s; there are {content}, {content trim}, {content trim-turn}, "
                   "{content trim-end-spaces}, {bos}, {bos?}, {eos}, {eos?} and {symbol NAME}, and a brace "
                   "is written {{",
                   word, close != NULL ? " (did you mean {" : "", close != NULL ? close : "",
                   close != NULL ? "}?)" : "");
}

static int add_named_symbol(struct template *t, struct part *p, struct slice name, struct err *reterr)
{
    int32_t id = tokenizer_symbol(t->tok, name);
    if (id >= 0)
        return add_symbol(t, p, id);
    return err_set(
        reterr, ERR_CONFIG,
        "the tokenizer %s has no symbol '%.*s'; if the model to be trained has, give its id to the stream: "
        "special_tokens: {\"%.*s\": ID}; if not, choose another template",
        tokenizer_path(t->tok), (int)name.size, name.data, (int)name.size, name.data);
}

static int add_word(struct template *t, struct part *p, struct slice inside, struct err *reterr)
{
    const char symbol[] = "symbol ";
    if (inside.size > strlen(symbol) && memcmp(inside.data, symbol, strlen(symbol)) == 0)
        return add_named_symbol(
            t, p, (struct slice){inside.data + strlen(symbol), inside.size - strlen(symbol)}, reterr);
    const struct word *w = words;
    while (w < words + N_WORDS && !slice_is(inside, w->text))
        w++;
    if (w == words + N_WORDS)
        return unknown_word(inside, reterr);
    if (w->kind == WORD_CONTENT)
        return add_op(p, (struct op){.kind = OP_CONTENT, .trim = w->trim});
    int32_t id = w->kind == WORD_BOS ? t->bos : tokenizer_eos(t->tok);
    if (id >= 0)
        return add_symbol(t, p, id);
    if (w->optional)
        return 0;
    return err_set(
        reterr, ERR_CONFIG,
        "the tokenizer %s has no %s; choose a template that does without (plain), or write {%s?} in your own",
        tokenizer_path(t->tok), w->text, w->text);
}

static int split(struct template *t, struct part *p, struct err *reterr)
{
    const char *from = p->source, *at;
    while ((at = strchr(from, '{')) != NULL) {
        if (at[1] == '{') {
            int rc = add_text(p, from, at + 1);
            if (rc != 0)
                return rc;
            from = at + 2;
            continue;
        }
        const char *end = strchr(at, '}');
        if (end == NULL)
            return err_set(reterr, ERR_CONFIG, "the { before '%.20s' is never closed; a brace is written {{",
                           at + 1);
        int rc = add_text(p, from, at);
        if (rc == 0)
            rc = add_word(t, p, (struct slice){at + 1, (size_t)(end - at - 1)}, reterr);
        if (rc != 0)
            return rc;
        from = end + 1;
    }
    return add_text(p, from, from + strlen(from));
}

/* One of the strings; contents: how often {content} must stand in it. */
static int compile_part(struct template *t, struct part *p, const char *what, const char *source,
                        uint32_t contents, struct err *reterr)
{
    uint32_t n = 0;
    if (source == NULL)
        return 0;
    p->source = strdup(source);
    if (p->source == NULL)
        return err_sys(reterr, -ENOMEM, "%s", what);
    int rc = split(t, p, reterr);
    if (rc == -ENOMEM)
        return err_sys(reterr, rc, "%s", what);
    if (rc != 0)
        return err_wrap(reterr, rc, "%s", what);
    for (size_t i = 0; i < p->n_ops; i++)
        n += p->ops[i].kind == OP_CONTENT;
    if (n == contents)
        return 0;
    return err_set(reterr, ERR_CONFIG, "%s: {content} stands in it %u times, %s", what, n,
                   contents == 0 ? "but it is said before any turn; take it out" : "and must once");
}

/* Does a symbol end each response? Then a piece of joined text has at most a few turns in it. */
static bool ends_responses(const struct part *assistant)
{
    bool content = false;
    for (size_t i = 0; i < assistant->n_ops; i++) {
        content = content || assistant->ops[i].kind == OP_CONTENT;
        if (content && assistant->ops[i].kind == OP_SYMBOL)
            return true;
    }
    return false;
}

static int compile(struct template *t, const struct strings *s, struct err *reterr)
{
    int rc = 0;
    if (s->user == NULL || s->assistant == NULL)
        return err_set(reterr, ERR_CONFIG,
                       "%s is missing; give it, with {content} where the turn's text goes",
                       s->user == NULL ? "user" : "assistant");
    if (s->default_system != NULL && s->system == NULL)
        return err_set(
            reterr, ERR_CONFIG,
            "there is a default_system, but no system; give it, with {content} where the prompt goes");
    if (s->default_system != NULL && (t->default_system = strdup(s->default_system)) == NULL)
        return err_sys(reterr, -ENOMEM, "default_system");
    t->system_place = s->system_place;
    t->joined = s->joined;
    t->bos = tokenizer_bos(t->tok);
    if ((rc = compile_part(t, &t->begin, "begin", s->begin != NULL ? s->begin : "", 0, reterr)) != 0 ||
        (rc = compile_part(t, &t->system, "system", s->system, 1, reterr)) != 0 ||
        (rc = compile_part(t, &t->user, "user", s->user, 1, reterr)) != 0 ||
        (rc = compile_part(t, &t->assistant, "assistant", s->assistant, 1, reterr)) != 0)
        return rc;
    if (t->joined && !ends_responses(&t->assistant))
        return err_set(
            reterr, ERR_CONFIG,
            "assistant: joined needs a symbol that ends the response; write {eos} after {content}");
    return compile_part(t, &t->text, "text", "{content}{eos?}", 1, reterr);
}

static const struct strings *find_built_in(const char *name)
{
    for (size_t i = 0; i < N_BUILT_IN; i++)
        if (strcmp(built_in[i].name, name) == 0)
            return &built_in[i];
    return NULL;
}

static const struct conf_template *find_own(const char *name, const struct conf_template *own, uint32_t n_own)
{
    for (uint32_t i = 0; i < n_own; i++)
        if (strcmp(own[i].name, name) == 0)
            return &own[i];
    return NULL;
}

static int unknown_template(const char *name, const struct conf_template *own, uint32_t n_own,
                            struct err *reterr)
{
    char names[sizeof reterr->text / 2] = "";
    size_t used = 0;
    const char **choices = calloc(N_BUILT_IN + n_own, sizeof *choices);
    if (choices == NULL)
        return err_sys(reterr, -ENOMEM, "template '%s'", name);
    for (uint32_t i = 0; i < N_BUILT_IN + n_own; i++) {
        choices[i] = i < N_BUILT_IN ? built_in[i].name : own[i - N_BUILT_IN].name;
        if (used < sizeof names)
            used +=
                (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", choices[i]);
    }
    const char *close = nearest(name, choices, N_BUILT_IN + n_own);
    int rc = err_set(reterr, ERR_CONFIG, "template '%.64s' is not known%s%s%s; there are %s", name,
                     close != NULL ? " (did you mean " : "", close != NULL ? close : "",
                     close != NULL ? "?)" : "", names);
    free(choices);
    return rc;
}

static int compile_new(const struct strings *s, struct tokenizer *tok, struct template **ret,
                       struct err *reterr)
{
    struct template *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_sys(reterr, -ENOMEM, "no memory for it");
    t->tok = tokenizer_ref(tok);
    int rc = compile(t, s, reterr);
    if (rc != 0) {
        template_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

int template_check_name(const char *name, const struct conf_template *own, uint32_t n_own, struct err *reterr)
{
    return find_built_in(name) != NULL || find_own(name, own, n_own) != NULL
               ? 0
               : unknown_template(name, own, n_own, reterr);
}

int template_compile(const char *name, const struct conf_template *own, uint32_t n_own, struct tokenizer *tok,
                     struct template **ret, struct err *reterr)
{
    const struct strings *theirs = find_built_in(name);
    const struct conf_template *mine = find_own(name, own, n_own);
    if (mine == NULL && theirs == NULL)
        return unknown_template(name, own, n_own, reterr);
    if (mine == NULL) {
        int rc = compile_new(theirs, tok, ret, reterr);
        return rc == 0 ? 0 : err_wrap(reterr, rc, "template '%s'", name);
    }
    const struct strings s = {.name = mine->name,
                              .begin = mine->begin,
                              .system = mine->system,
                              .default_system = mine->default_system,
                              .user = mine->user,
                              .assistant = mine->assistant,
                              .system_place = (enum template_system_place)mine->system_place,
                              .joined = mine->joined};
    int rc = theirs == NULL
                 ? compile_new(&s, tok, ret, reterr)
                 : err_set(reterr, ERR_CONFIG, "this is the name of a built-in template; choose another");
    if (rc == 0)
        return 0;
    return mine->line > 0 ? err_wrap(reterr, rc, "template '%s' (line %u)", name, mine->line)
                          : err_wrap(reterr, rc, "template '%s'", name);
}

static void part_fini(struct part *p)
{
    free(p->ops);
    free(p->source);
}

void template_free(struct template *t)
{
    if (t == NULL)
        return;
    part_fini(&t->begin);
    part_fini(&t->system);
    part_fini(&t->user);
    part_fini(&t->assistant);
    part_fini(&t->text);
    free(t->unwanted);
    free(t->default_system);
    tokenizer_unref(t->tok);
    free(t);
}
