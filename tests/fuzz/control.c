/* A request on the control socket: refused with a code and a reason, or run with arguments that are as its
 * row says. The handlers that look at a running daemon are stood in for here; they see what the decoder lets
 * through. */
#include "fuzz/support/fuzz.h"

#include "control/commands.h"

#include <stdio.h>
#include <string.h>

static void check_arguments(struct request *q)
{
    for (unsigned i = 0; i < ARGUMENTS_MAX && q->command->arguments[i].name != NULL; i++) {
        const struct argument *a = &q->command->arguments[i];
        if (a->type == ARGUMENT_TEXT)
            CHECK(strlen(q->arguments[i].text) <= (a->max > 0 ? a->max : MSG_NAME_MAX));
        else if (a->type == ARGUMENT_LIST)
            for (uint32_t n = 0; n < q->arguments[i].n; n++)
                CHECK(strlen(q->arguments[i].list[n]) <= ARGUMENT_BYTES_MAX);
        else if (a->type == ARGUMENT_UINT && q->arguments[i].given)
            CHECK(q->arguments[i].number >= a->min && q->arguments[i].number <= a->max);
        else if (a->type == ARGUMENT_BOOL)
            CHECK(q->arguments[i].number <= 1);
        if (a->type == ARGUMENT_TEXT)
            (void)request_stream(q, i);
    }
}

#define STANDS_IN(name)                    \
    void command_##name(struct request *q) \
    {                                      \
        check_arguments(q);                \
    }
STANDS_IN(status)
STANDS_IN(preview)
STANDS_IN(config)
STANDS_IN(tail)
STANDS_IN(quarantine)
STANDS_IN(history)
STANDS_IN(set)
STANDS_IN(add)
STANDS_IN(remove)
STANDS_IN(reload)
STANDS_IN(diff)
STANDS_IN(revert)
STANDS_IN(cancel)
STANDS_IN(pause)
STANDS_IN(resume)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char chat[] = "chat", code[] = "code";
    struct conf_stream streams[] = {{.name = chat}, {.name = code}};
    struct conf conf = {.streams = streams, .n_streams = 2};
    struct roster roster = {.running = &conf, .file = &conf};
    const struct control_context context = {.roster = &roster};
    struct request q;
    request_run(&q, &context, (const char *)data, size);
    CHECK(request_seal(&q) == 0);
    const struct token_cursor reply = {q.reply.buf.data, q.reply.buf.data + q.reply.buf.size};
    struct token_cursor end = reply;
    CHECK(token_skip(&end) && end.at == end.end);
    CHECK(ctl_get_uint(reply, "version") == CTL_VERSION && ctl_get_bool(reply, "ok") == !q.failed);
    CHECK(!q.failed || (ctl_get_text(reply, "code").size > 0 && ctl_get_text(reply, "error").size > 0));
    request_fini(&q);
    return 0;
}
