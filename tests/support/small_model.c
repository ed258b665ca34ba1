#include "small_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void small_model_write(const char *path, const struct small_piece *pieces, size_t n)
{
    /* trainer_spec { model_type: BPE }, normalizer_spec { name: "identity", remove_extra_whitespaces: false }
     */
    static const char specs[] = "\x12\x02\x18\x02\x1a\x0c\x0a\x08identity\x20";
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) {
        size_t size = strlen(pieces[i].text);
        assert_true(size < 100);
        fprintf(f, "\x0a%c\x0a%c%s\x15", (int)size + 9, (int)size, pieces[i].text);
        assert_int_equal(fwrite(&pieces[i].score, 4, 1, f), 1);
        fprintf(f, "\x18%c", (int)pieces[i].type);
    }
    assert_int_equal(fwrite(specs, sizeof specs, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}
