// The one place that knows simdjson. No exception leaves it, and none is used: simdjson's error codes are,
// and memory comes from malloc.
#include "corpus/record.h"

extern "C" {
#include "base/err.h"
}

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <simdjson.h>
#include <string_view>

namespace dom = simdjson::dom;

static_assert(RECORD_PADDING >= simdjson::SIMDJSON_PADDING, "simdjson reads this far past a record");

extern "C" const char *const unusable_names[UNUSABLE__COUNT] = {
    "usable",         "invalid-json", "missing-fields", "unknown-role", "response-first",
    "empty-response", "too-large",    "template",       "overlong",     "unsupervised",
    "tokenizer",      "duplicate",    "not-text",
};

// simdjson keeps the memory of the largest document it has seen. A parser that has seen one larger than this
// gives its memory back before the next record: rare large records must not cost every thread their size for
// good.
static constexpr size_t KEEP_SIZE = 4u << 20;

struct record_parser {
    dom::parser json;
    struct turn *turns = nullptr;
    uint32_t n_turns = 0, cap_turns = 0;
    char *joined = nullptr; // texts of turns that were joined; never moves while a record is parsed
    size_t joined_size = 0, joined_cap = 0;
    size_t record_size = 0; // of the record in work
    char *detail = nullptr;
    bool no_memory = false;
    bool leave_out = false; // what is not text
    uint32_t n_left_out = 0;
};

extern "C" struct record_parser *record_parser_new(void)
{
    return new (std::nothrow) record_parser;
}

extern "C" void record_parser_free(struct record_parser *p)
{
    if (p == nullptr)
        return;
    free(p->turns);
    free(p->joined);
    delete p;
}

namespace
{

[[gnu::format(printf, 3, 4)]] enum unusable refuse(record_parser *p, enum unusable why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(p->detail, RECORD_DETAIL, fmt, ap);
    va_end(ap);
    return why;
}

// No memory is not the record's fault: record_parse turns this into an error.
enum unusable refuse_memory(record_parser *p)
{
    p->no_memory = true;
    return UNUSABLE_TOO_LARGE;
}

bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

bool is_blank(std::string_view s)
{
    for (char c : s)
        if (!is_space(c))
            return false;
    return true;
}

// The value itself: an extent reaches to the next record, white space and comma included.
struct slice strip(struct slice s)
{
    while (s.size > 0 && is_space(s.data[0]))
        s.data++, s.size--;
    while (s.size > 0 && is_space(s.data[s.size - 1]))
        s.size--;
    if (s.size > 0 && s.data[s.size - 1] == ',')
        s.size--;
    while (s.size > 0 && is_space(s.data[s.size - 1]))
        s.size--;
    return s;
}

const char *field_name(const struct conf_corpus *c, enum field f)
{
    return c->fields[f] != nullptr ? c->fields[f] : field_names[f];
}

const char *type_name(dom::element e)
{
    switch (e.type()) {
    case dom::element_type::ARRAY:
        return "a list";
    case dom::element_type::OBJECT:
        return "an object";
    case dom::element_type::STRING:
        return "a string";
    case dom::element_type::BOOL:
        return "true or false";
    case dom::element_type::NULL_VALUE:
        return "null";
    default:
        return "a number";
    }
}

/* ---- turns ---- */

// `text` joined to the turn's with a blank line between. A record is longer than all its texts and the blank
// lines together, for each text has a name and quotes around it; conf_corpus.fields may use one of them for
// two fields. So joined[] is allocated once, and what points into it stays.
bool join(record_parser *p, struct turn *t, std::string_view text)
{
    size_t cap = 2 * p->record_size;
    if (p->joined_cap < cap) {
        CHECK(p->joined_size == 0);
        free(p->joined);
        p->joined = static_cast<char *>(malloc(cap));
        p->joined_cap = p->joined == nullptr ? 0 : cap;
        if (p->joined == nullptr)
            return false;
    }
    CHECK(t->text.size + 2 + text.size() <= p->joined_cap - p->joined_size);
    char *end = p->joined + p->joined_size;
    if (t->text.data + t->text.size != end) {
        memcpy(end, t->text.data, t->text.size);
        t->text.data = end;
        end += t->text.size;
    }
    memcpy(end, "\n\n", 2);
    memcpy(end + 2, text.data(), text.size());
    t->text.size += 2 + text.size();
    p->joined_size = static_cast<size_t>(end + 2 + text.size() - p->joined);
    return true;
}

enum unusable push(record_parser *p, enum role role, std::string_view text, bool untrained)
{
    if (p->n_turns == p->cap_turns) {
        uint32_t cap = p->cap_turns == 0 ? 16 : 2 * p->cap_turns;
        void *grown = realloc(p->turns, cap * sizeof p->turns[0]);
        if (grown == nullptr)
            return refuse_memory(p);
        p->turns = static_cast<struct turn *>(grown);
        p->cap_turns = cap;
    }
    p->turns[p->n_turns++] = {role, {text.data(), text.size()}, untrained};
    return USABLE;
}

enum unusable add_turn(record_parser *p, enum role role, std::string_view text, bool untrained = false)
{
    struct turn *last = p->n_turns > 0 ? &p->turns[p->n_turns - 1] : nullptr;
    if (role == ROLE_SYSTEM && last != nullptr && last->role != ROLE_SYSTEM)
        return refuse(p, UNUSABLE_ROLE, "a system turn after the dialogue has begun");
    if (role == ROLE_SYSTEM && text.empty())
        return USABLE; // a field that every record of a file has, and most leave empty
    if (role == ROLE_ASSISTANT && (last == nullptr || last->role == ROLE_SYSTEM))
        return refuse(p, UNUSABLE_RESPONSE_FIRST, "a response before any instruction");
    if (role == ROLE_ASSISTANT && is_blank(text))
        return refuse(p, UNUSABLE_EMPTY_RESPONSE, "turn %u: a response without text", p->n_turns + 1);
    if (last == nullptr || last->role != role)
        return push(p, role, text, untrained);
    if (last->untrained != untrained)
        return refuse(p, UNUSABLE_FIELDS, "turn %u: responses of weight 0 and 1 in one", p->n_turns);
    return join(p, last, text) ? USABLE : refuse_memory(p);
}

/* ---- fields ---- */

// A field by its name, or else by the way to it: "data.messages".
bool get_field(dom::object o, const char *name, dom::element *ret)
{
    if (o[name].get(*ret) == simdjson::SUCCESS)
        return true;
    for (const char *dot; (dot = strchr(name, '.')) != nullptr; name = dot + 1) {
        dom::object inner;
        if (o[std::string_view(name, static_cast<size_t>(dot - name))].get(inner) != simdjson::SUCCESS)
            return false;
        o = inner;
        if (strchr(dot + 1, '.') == nullptr)
            return o[dot + 1].get(*ret) == simdjson::SUCCESS;
    }
    return false;
}

enum unusable get_string(record_parser *p, dom::object o, const char *name, bool required,
                         std::string_view *ret)
{
    dom::element e;
    *ret = {};
    if (!get_field(o, name, &e) || (!required && e.is_null()))
        return required ? refuse(p, UNUSABLE_FIELDS, "no field '%.32s'", name) : USABLE;
    if (e.get(*ret) != simdjson::SUCCESS)
        return refuse(p, UNUSABLE_FIELDS, "'%.32s' is %s, a string is wanted", name, type_name(e));
    return USABLE;
}

// Roles of turns that are no text: calls of tools, and what they gave.
constexpr int ROLE_TOOL = ROLE__COUNT, ROLE_NOT_KNOWN = -1;

int find_role(enum corpus_format format, std::string_view name)
{
    static const struct {
        const char *name;
        int role;
    } of_messages[] = {{"system", ROLE_SYSTEM},       {"developer", ROLE_SYSTEM}, {"user", ROLE_USER},
                       {"assistant", ROLE_ASSISTANT}, {"tool", ROLE_TOOL},        {"function", ROLE_TOOL},
                       {nullptr, ROLE_NOT_KNOWN}},
      of_sharegpt[] = {
          {"human", ROLE_USER},         {"gpt", ROLE_ASSISTANT},          {"system", ROLE_SYSTEM},
          {"user", ROLE_USER},          {"assistant", ROLE_ASSISTANT},    {"model", ROLE_ASSISTANT},
          {"chatgpt", ROLE_ASSISTANT},  {"bing", ROLE_ASSISTANT},         {"bard", ROLE_ASSISTANT},
          {"tool", ROLE_TOOL},          {"function", ROLE_TOOL},          {"observation", ROLE_TOOL},
          {"function_call", ROLE_TOOL}, {"function_response", ROLE_TOOL}, {"tool_call", ROLE_TOOL},
          {"tool_response", ROLE_TOOL}, {nullptr, ROLE_NOT_KNOWN}};
    auto *r = format == FORMAT_SHAREGPT ? of_sharegpt : of_messages;
    while (r->name != nullptr && name != r->name)
        r++;
    return r->role;
}

// A role is quoted only if it looks like one: details hold no text of the corpus.
bool is_quotable(std::string_view role)
{
    for (char c : role)
        if (!(c >= 'a' && c <= 'z') && c != '_' && c != '-')
            return false;
    return !role.empty() && role.size() <= 16;
}

// A response says that it calls a tool.
bool has_calls(dom::object o)
{
    dom::element e;
    dom::array list;
    if (o["function_call"].get(e) == simdjson::SUCCESS && !e.is_null())
        return true;
    if (o["tool_calls"].get(e) != simdjson::SUCCESS || e.is_null())
        return false;
    return e.get(list) != simdjson::SUCCESS || list.begin() != list.end();
}

// Of turn n; what: a few words.
enum unusable not_text(record_parser *p, unsigned n, const char *what)
{
    if (!p->leave_out)
        return refuse(p, UNUSABLE_NOT_TEXT, "turn %u: %s; see not_text", n, what);
    p->n_left_out++;
    return USABLE;
}

// The text of one part of a content; false: it has none.
bool part_text(dom::element part, std::string_view *ret)
{
    dom::object o;
    std::string_view type;
    if (part.get(*ret) == simdjson::SUCCESS)
        return true;
    return part.get(o) == simdjson::SUCCESS && o["type"].get(type) == simdjson::SUCCESS &&
           (type == "text" || type == "input_text" || type == "output_text") &&
           o["text"].get(*ret) == simdjson::SUCCESS;
}

struct message {
    enum role role;
    unsigned n; // of its list, from 1
    bool untrained, calls;
};

// Parts are joined as neighbours of one role are; empty ones would only add blank lines.
enum unusable add_parts(record_parser *p, const struct message *m, dom::array parts)
{
    const uint32_t left_out = p->n_left_out;
    bool any = false;
    for (dom::element part : parts) {
        std::string_view text;
        enum unusable why = USABLE;
        if (!part_text(part, &text))
            why = not_text(p, m->n, "a part that is no text");
        else if (!is_blank(text)) {
            why = add_turn(p, m->role, text, m->untrained);
            any = true;
        }
        if (why != USABLE)
            return why;
    }
    if (any || (m->role == ROLE_ASSISTANT && (m->calls || p->n_left_out > left_out)))
        return USABLE;
    return add_turn(p, m->role, "", m->untrained);
}

enum unusable add_content(record_parser *p, const struct message *m, dom::object o, const char *name)
{
    dom::element e;
    dom::array parts;
    std::string_view text;
    enum unusable why = m->calls ? not_text(p, m->n, "a call of a tool") : USABLE;
    if (why != USABLE)
        return why;
    if (m->calls && (!get_field(o, name, &e) || e.is_null()))
        return USABLE;
    if (get_field(o, name, &e) && e.get(parts) == simdjson::SUCCESS)
        return add_parts(p, m, parts);
    why = get_string(p, o, name, true, &text);
    if (why != USABLE || (m->calls && is_blank(text)))
        return why;
    return add_turn(p, m->role, text, m->untrained);
}

// "weight": 0 or 1, of a response.
enum unusable get_weight(record_parser *p, dom::object o, struct message *m)
{
    dom::element e;
    double weight = 1;
    if (m->role != ROLE_ASSISTANT || o["weight"].get(e) != simdjson::SUCCESS || e.is_null())
        return USABLE;
    if (e.get(weight) != simdjson::SUCCESS || (weight != 0 && weight != 1))
        return refuse(p, UNUSABLE_FIELDS, "turn %u: its weight is neither 0 nor 1", m->n);
    m->untrained = weight == 0;
    return USABLE;
}

enum unusable add_message(record_parser *p, const struct conf_corpus *c, enum corpus_format format,
                          unsigned n, dom::object o)
{
    const char *role_name = field_name(c, format == FORMAT_SHAREGPT ? FIELD_FROM : FIELD_ROLE);
    std::string_view name;
    enum unusable why = get_string(p, o, role_name, true, &name);
    if (why != USABLE)
        return why;
    int role = find_role(format, name);
    if (role == ROLE_NOT_KNOWN && is_quotable(name))
        return refuse(p, UNUSABLE_ROLE, "turn %u: role '%.*s' is not known", n, static_cast<int>(name.size()),
                      name.data());
    if (role == ROLE_NOT_KNOWN)
        return refuse(p, UNUSABLE_ROLE, "turn %u: its role is not known", n);
    if (role == ROLE_TOOL)
        return not_text(p, n, "a call of a tool, or its result");
    struct message m = {static_cast<enum role>(role), n, false, role == ROLE_ASSISTANT && has_calls(o)};
    why = get_weight(p, o, &m);
    return why == USABLE
               ? add_content(p, &m, o, field_name(c, format == FORMAT_SHAREGPT ? FIELD_VALUE : FIELD_CONTENT))
               : why;
}

// The turns of a list of objects; names as sharegpt or messages have them.
enum unusable add_list(record_parser *p, const struct conf_corpus *c, enum corpus_format format,
                       dom::array list)
{
    unsigned n = 0;
    for (dom::element e : list) {
        n++;
        dom::object o;
        if (e.get(o) != simdjson::SUCCESS)
            return refuse(p, UNUSABLE_FIELDS, "turn %u is %s, an object is wanted", n, type_name(e));
        enum unusable why = add_message(p, c, format, n, o);
        if (why != USABLE)
            return why;
    }
    return USABLE;
}

enum unusable add_list_field(record_parser *p, const struct conf_corpus *c, enum corpus_format format,
                             dom::object o, const char *name)
{
    dom::element e;
    dom::array list;
    if (!get_field(o, name, &e))
        return refuse(p, UNUSABLE_FIELDS, "no field '%.32s'", name);
    if (e.get(list) != simdjson::SUCCESS)
        return refuse(p, UNUSABLE_FIELDS, "'%.32s' is %s, a list is wanted", name, type_name(e));
    if (list.begin() == list.end())
        return refuse(p, UNUSABLE_FIELDS, "'%.32s' is an empty list", name);
    return add_list(p, c, format, list);
}

enum unusable add_system_field(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    std::string_view text;
    enum unusable why = get_string(p, o, field_name(c, FIELD_SYSTEM), false, &text);
    return why == USABLE ? add_turn(p, ROLE_SYSTEM, text) : why;
}

/* ---- formats ---- */

enum unusable parse_messages(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    enum unusable why = add_system_field(p, c, o);
    return why == USABLE ? add_list_field(p, c, FORMAT_MESSAGES, o, field_name(c, FIELD_MESSAGES)) : why;
}

enum unusable parse_sharegpt(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    enum unusable why = add_system_field(p, c, o);
    return why == USABLE ? add_list_field(p, c, FORMAT_SHAREGPT, o, field_name(c, FIELD_CONVERSATIONS)) : why;
}

// Earlier turns of an alpaca record: [["instruction", "response"], ...]
enum unusable add_history(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    const char *name = field_name(c, FIELD_HISTORY);
    dom::element e;
    dom::array list, pair;
    if (!get_field(o, name, &e) || e.is_null())
        return USABLE;
    if (e.get(list) != simdjson::SUCCESS)
        return refuse(p, UNUSABLE_FIELDS, "'%.32s' is %s, a list is wanted", name, type_name(e));
    for (dom::element of : list) {
        std::string_view instruction, response;
        if (of.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
            pair.at(0).get(instruction) != simdjson::SUCCESS || pair.at(1).get(response) != simdjson::SUCCESS)
            return refuse(p, UNUSABLE_FIELDS, "'%.32s': pairs of two strings are wanted", name);
        enum unusable why = add_turn(p, ROLE_USER, instruction);
        if (why == USABLE)
            why = add_turn(p, ROLE_ASSISTANT, response);
        if (why != USABLE)
            return why;
    }
    return USABLE;
}

enum unusable parse_alpaca(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    std::string_view instruction, input, output;
    enum unusable why = add_system_field(p, c, o);
    if (why == USABLE)
        why = add_history(p, c, o);
    if (why == USABLE)
        why = get_string(p, o, field_name(c, FIELD_INSTRUCTION), true, &instruction);
    if (why == USABLE)
        why = get_string(p, o, field_name(c, FIELD_INPUT), false, &input);
    if (why == USABLE)
        why = get_string(p, o, field_name(c, FIELD_OUTPUT), true, &output);
    if (why == USABLE && !(instruction.empty() && !input.empty()))
        why = add_turn(p, ROLE_USER, instruction);
    if (why == USABLE && !input.empty())
        why = add_turn(p, ROLE_USER, input);
    return why == USABLE ? add_turn(p, ROLE_ASSISTANT, output) : why;
}

// A string is one turn of that role; TRL also allows a list of messages.
enum unusable add_prompt_or_completion(record_parser *p, const struct conf_corpus *c, dom::object o,
                                       enum role role)
{
    const char *name = field_name(c, role == ROLE_USER ? FIELD_PROMPT : FIELD_COMPLETION);
    dom::element e;
    if (get_field(o, name, &e) && e.is_array())
        return add_list_field(p, c, FORMAT_MESSAGES, o, name);
    std::string_view text;
    enum unusable why = get_string(p, o, name, true, &text);
    return why == USABLE ? add_turn(p, role, text) : why;
}

enum unusable parse_prompt_completion(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    enum unusable why = add_system_field(p, c, o);
    if (why == USABLE)
        why = add_prompt_or_completion(p, c, o, ROLE_USER);
    return why == USABLE ? add_prompt_or_completion(p, c, o, ROLE_ASSISTANT) : why;
}

enum unusable add_text(record_parser *p, std::string_view text)
{
    return is_blank(text) ? refuse(p, UNUSABLE_EMPTY_RESPONSE, "a text of white space only")
                          : push(p, ROLE_TEXT, text, false);
}

enum unusable parse_text(record_parser *p, const struct conf_corpus *c, dom::object o)
{
    std::string_view text;
    enum unusable why = get_string(p, o, field_name(c, FIELD_TEXT), true, &text);
    return why == USABLE ? add_text(p, text) : why;
}

// A line of a text file: all of it but its end, so that indentation stays.
enum unusable parse_line(record_parser *p, struct slice s)
{
    const void *newline = memchr(s.data, '\n', s.size);
    if (newline != nullptr)
        s.size = static_cast<size_t>(static_cast<const char *>(newline) - s.data);
    if (s.size > 0 && s.data[s.size - 1] == '\r')
        s.size--;
    if (!simdjson::validate_utf8(s.data, s.size))
        return refuse(p, UNUSABLE_JSON, "not valid UTF-8");
    return add_text(p, {s.data, s.size});
}

enum unusable refuse_json(record_parser *p, simdjson::error_code error)
{
    if (error == simdjson::UTF8_ERROR)
        return refuse(p, UNUSABLE_JSON, "not valid UTF-8");
    if (error == simdjson::MEMALLOC)
        return refuse_memory(p);
    if (error == simdjson::CAPACITY)
        return refuse(p, UNUSABLE_TOO_LARGE, "%zu bytes: JSON documents end at 4 GiB", p->record_size);
    if (error == simdjson::TAPE_ERROR) // the library's own words are longer than a detail
        return refuse(p, UNUSABLE_JSON, "commas, colons, quotes or brackets are missing or too many");
    return refuse(p, UNUSABLE_JSON, "%s", simdjson::error_message(error));
}

enum unusable parse_object(record_parser *p, struct slice s, dom::object *ret)
{
    dom::element e;
    if (p->json.capacity() > KEEP_SIZE && s.size <= KEEP_SIZE) {
        p->json = dom::parser();
        free(p->joined);
        p->joined = nullptr;
        p->joined_cap = 0;
    }
    simdjson::error_code error = p->json.parse(s.data, s.size, false).get(e);
    if (error != simdjson::SUCCESS)
        return refuse_json(p, error);
    if (e.get(*ret) != simdjson::SUCCESS)
        return refuse(p, UNUSABLE_FIELDS, "the record is %s, an object is wanted", type_name(e));
    return USABLE;
}

enum unusable parse_json(record_parser *p, const struct conf_corpus *c, enum corpus_format format,
                         struct slice s)
{
    static enum unusable (*const parsers[FORMAT__COUNT])(record_parser *, const struct conf_corpus *,
                                                         dom::object) = {
        nullptr, parse_messages, parse_sharegpt, parse_alpaca, parse_prompt_completion, parse_text};
    dom::object o;
    enum unusable why = parse_object(p, s, &o);
    return why == USABLE ? parsers[format](p, c, o) : why;
}

bool has_list(dom::object o, const char *name)
{
    dom::element e;
    return get_field(o, name, &e) && e.is_array();
}

bool has_string(dom::object o, const char *name)
{
    dom::element e;
    return get_field(o, name, &e) && e.is_string();
}

} // namespace

extern "C" int record_parse(struct record_parser *p, const struct conf_corpus *c, enum corpus_format format,
                            int plain, struct slice text, struct sample *ret, char detail[RECORD_DETAIL])
{
    p->n_turns = 0;
    p->joined_size = 0;
    p->record_size = text.size;
    p->detail = detail;
    p->no_memory = false;
    p->leave_out = c->not_text == NOT_TEXT_LEAVE_OUT;
    p->n_left_out = 0;
    enum unusable why = plain ? parse_line(p, text) : parse_json(p, c, format, strip(text));
    if (why != USABLE)
        return p->no_memory ? -ENOMEM : why;
    bool any = false;
    for (uint32_t i = 0; i < p->n_turns; i++)
        any = any || p->turns[i].role == ROLE_ASSISTANT || p->turns[i].role == ROLE_TEXT;
    if (!any)
        return refuse(p, UNUSABLE_EMPTY_RESPONSE, "no response at all");
    *ret = {p->turns, p->n_turns, p->n_left_out};
    return USABLE;
}

extern "C" enum corpus_format record_detect(struct record_parser *p, const struct conf_corpus *c,
                                            struct slice text)
{
    char detail[RECORD_DETAIL];
    dom::object o;
    p->detail = detail;
    p->record_size = text.size;
    if (parse_object(p, strip(text), &o) != USABLE)
        return FORMAT_AUTO;
    const char *prompt = field_name(c, FIELD_PROMPT), *completion = field_name(c, FIELD_COMPLETION);
    if (has_list(o, field_name(c, FIELD_MESSAGES)))
        return FORMAT_MESSAGES;
    if (has_list(o, field_name(c, FIELD_CONVERSATIONS)))
        return FORMAT_SHAREGPT;
    if (has_string(o, field_name(c, FIELD_INSTRUCTION)) && has_string(o, field_name(c, FIELD_OUTPUT)))
        return FORMAT_ALPACA;
    if ((has_string(o, prompt) || has_list(o, prompt)) &&
        (has_string(o, completion) || has_list(o, completion)))
        return FORMAT_PROMPT_COMPLETION;
    return has_string(o, field_name(c, FIELD_TEXT)) ? FORMAT_TEXT : FORMAT_AUTO;
}
