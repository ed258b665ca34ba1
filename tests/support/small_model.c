#include "small_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void write_piece(FILE *f, const struct small_piece *p)
{
    size_t size = strlen(p->text);
    assert_true(size < 100);
    fprintf(f, "\x0a%c\x0a%c", (int)size + 9, (int)size);
    for (size_t i = 0; i < size; i++)
        (void)fputc(p->text[i] == '\xfe' ? '\0' : p->text[i], f);
    (void)fputc(0x15, f);
    assert_int_equal(fwrite(&p->score, 4, 1, f), 1);
    fprintf(f, "\x18%c", (int)p->type);
}

void small_model_write(const char *path, const struct small_piece *pieces, size_t n)
{
    /* trainer_spec { model_type: BPE }, normalizer_spec { name: "identity", remove_extra_whitespaces: false }
     */
    static const char specs[] = "\x12\x02\x18\x02\x1a\x0c\x0a\x08identity\x20";
    small_model_write_specs(path, pieces, n, (struct slice){specs, sizeof specs});
}

void small_model_write_specs(const char *path, const struct small_piece *pieces, size_t n, struct slice specs)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        write_piece(f, &pieces[i]);
    assert_int_equal(fwrite(specs.data, specs.size, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

void small_model_write_bytes(const char *path, const struct small_piece *pieces, size_t n,
                             const struct slice *specs)
{
    /* trainer_spec { model_type: BPE, byte_fallback: true },
     * normalizer_spec { remove_extra_whitespaces: false } */
    static const char usual[] = "\x12\x05\x18\x02\x98\x02\x01\x1a\x02\x20";
    const struct slice last = specs != NULL ? *specs : (struct slice){usual, sizeof usual};
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    write_piece(f, &(struct small_piece){"<unk>", 0, SPM_UNKNOWN});
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        (void)snprintf(name, sizeof name, "<0x%02X>", byte);
        write_piece(f, &(struct small_piece){name, 0, SPM_BYTE});
    }
    for (size_t i = 0; i < n; i++)
        write_piece(f, &pieces[i]);
    assert_int_equal(fwrite(last.data, 1, last.size, f), last.size);
    assert_int_equal(fclose(f), 0);
}
