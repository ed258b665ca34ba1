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
        else if (a->type == ARGUMENT_UINT)
            CHECK(q->arguments[i].number >= a->min && q->arguments[i].number <= a->max);
        else
            CHECK(q->arguments[i].number <= 1);
        if (a->type == ARGUMENT_TEXT)
            (void)request_stream(q, i);
    }
}

void command_status(struct request *q)
{
    check_arguments(q);
}

void command_preview(struct request *q)
{
    check_arguments(q);
}

void command_config(struct request *q)
{
    check_arguments(q);
}

void command_tail(struct request *q)
{
    check_arguments(q);
}

void command_quarantine(struct request *q)
{
    check_arguments(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char chat[] = "chat", code[] = "code";
    struct conf_stream streams[] = {{.name = chat}, {.name = code}};
    const struct conf conf = {.streams = streams, .n_streams = 2};
    const struct control_context context = {.conf = &conf};
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
