/* record - one JSON record to the turns of a dialogue (simdjson, in record.cc).
 *
 * What a record may be (fields renamed by conf_corpus.fields; a name with dots that the record does not have
 * as it is leads inside: data.messages):
 *   messages           {"messages": [{"role": system|developer|user|assistant, "content": "..."}, ...],
 *                       "system" (may be missing)}
 *   sharegpt           {"conversations": [{"from": system|human|user|gpt|assistant|..., "value": "..."},
 * ...], "system" (may be missing)} alpaca             {"instruction", "input" (may be empty), "output",
 * "system" and "history": [["instruction", "response"], ...] (may be missing)} prompt_completion  {"prompt",
 * "completion"}, each a string (or the messages list that TRL also allows), "system" (may be missing) text
 * {"text"}; in a *.txt file each line is one, as it is but for its line end A content may be a list of parts,
 * strings or {"type": "text", "text": "..."}; its texts are joined with blank lines. What is not text (other
 * parts, tool_calls, function_call, turns of tools) makes the record unusable, as the response would be
 * trained without what it answers or says; or it is left out, where conf_corpus.not_text says so. A response
 * of "weight": 0 is context and not trained.
 *
 * After parsing: at most one system turn, first (an empty one is left out); then user and assistant in turn
 * (neighbours of one role are joined with a blank line, as mistral-common does), or one ROLE_TEXT turn.
 * A trailing user turn is allowed.
 * Source:  OpenAI's chat and fine-tuning formats; ShareGPT and Alpaca as FastChat and LLaMA-Factory read
 * them.
 */
#ifndef SKIPALIGN_CORPUS_RECORD_H
#define SKIPALIGN_CORPUS_RECORD_H

#include "base/slice.h"
#include "config/conf.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TEXT, ROLE__COUNT };

struct turn {
    enum role role;
    struct slice text; /* UTF-8, unescaped; may hold NUL bytes */
    bool untrained;    /* a response that the record says is not to be trained: weight 0 */
};

struct sample {
    const struct turn *turns;
    uint32_t n_turns;
    uint32_t left_out; /* parts and turns that are not text: see conf_corpus.not_text */
};

/* Why a record cannot be used: data, not an error. Names are what `skipalignctl quarantine` shows. */
enum unusable {
    USABLE,
    UNUSABLE_JSON,           /* not valid JSON, or not valid UTF-8 */
    UNUSABLE_FIELDS,         /* the format's fields are missing or of another type */
    UNUSABLE_ROLE,           /* a role that is not known */
    UNUSABLE_RESPONSE_FIRST, /* a dialogue that starts with a response */
    UNUSABLE_EMPTY_RESPONSE, /* a response of white space only, or none at all */
    UNUSABLE_TOO_LARGE,      /* longer than record_max; not read */
    UNUSABLE_TEMPLATE,       /* the template cannot express it (e.g. a system prompt it has no place for) */
    UNUSABLE_OVERLONG,       /* longer than seq_len, and overlong: drop */
    UNUSABLE_UNSUPERVISED,   /* nothing supervised is left, e.g. after truncation */
    UNUSABLE_TOKENIZER,      /* the tokenizer refused the text */
    UNUSABLE_DUPLICATE,      /* the same bytes as an earlier record, and duplicates: drop */
    UNUSABLE_NOT_TEXT,       /* images, audio, tool calls or their results, and not_text: quarantine */
    UNUSABLE__COUNT,
};
extern const char *const unusable_names[UNUSABLE__COUNT];

struct record_parser; /* one thread's own */

struct record_parser *record_parser_new(void); /* NULL: no memory */
void record_parser_free(struct record_parser *p);

/* record_parse - the turns of one record.
 * text:    size bytes, with RECORD_PADDING readable (ignored) bytes after them.
 * plain:   the record is a line of a text file, not JSON.
 * Returns: USABLE, or why not (enum unusable), with a short explanation in detail (no corpus text).
 * Errors:  -ENOMEM.
 * Owner:   *ret borrows from the parser and from text, valid until the next call.
 */
#define RECORD_PADDING 64
#define RECORD_DETAIL 96
int record_parse(struct record_parser *p, const struct conf_corpus *c, enum corpus_format format, int plain,
                 struct slice text, struct sample *ret, char detail[RECORD_DETAIL]);

/* record_detect - the format that a record's fields show; FORMAT_AUTO if none. */
enum corpus_format record_detect(struct record_parser *p, const struct conf_corpus *c, struct slice text);

#ifdef __cplusplus
}
#endif

#endif
