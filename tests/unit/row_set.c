/* row_set: which rows are the same, the file and back, damage. */
#include "libcommon/data/row_set.h"

#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/out.h"
#include "libcommon/data/dataset.h"
#include "tests/test.h"

static char dir[] = "/tmp/peft-rowsXXXXXX";

static struct dataset_row texts(const char *prompt, const char *target)
{
    return (struct dataset_row){.prompt = STRZ(prompt), .target = STRZ(target)};
}

static struct dataset of(struct dataset_row *row, size_t n) { return (struct dataset){.row = row, .n = n}; }

static void same_rows(void)
{
    struct dataset_row mine[] = {texts("Q: a\nA:", " b"), texts("ab", "c"), texts("", "text alone")};
    struct dataset_row theirs[] = {texts(" Q: a\nA: ", "b\n"), texts("a", "bc"), texts("text alone", ""),
                                   texts("ab", "C"), texts("", "text alone")};
    struct dataset train = of(mine, 3), test = of(theirs, 5);
    struct row_set s = {0};
    CHECK(row_set_count(&s, &test) == 0);
    row_set_add(&s, &train);
    CHECK(s.n == 3 && row_set_count(&s, &train) == 3);
    CHECK(row_set_count(&s, &test) == 2); /* the first, the last */
    row_set_add(&s, &train);
    CHECK(s.n == 3);
    row_set_fini(&s);
}

static void rows_without_texts(void)
{
    int32_t ids[] = {1, 2, 3, 1, 2, 4};
    struct dataset_row mine[] = {{.first = 0, .n = 3}}, theirs[] = {{.first = 0, .n = 3}, {.first = 3, .n = 3}};
    struct dataset train = of(mine, 1), test = of(theirs, 2);
    train.ids = test.ids = ids;
    struct row_set s = {0};
    row_set_add(&s, &train);
    CHECK(row_set_count(&s, &test) == 1);
    row_set_fini(&s);
}

static void save(const void *p, size_t n)
{
    char *path = path_join(dir, ROW_SET_FILE);
    FILE *f = fopen(path, "w");
    CHECK(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
    free(path);
}

static void file_and_damage(void)
{
    struct dataset_row mine[] = {texts("a", "b"), texts("c", "d")};
    struct dataset d = of(mine, 2);
    struct row_set s = {0}, back = {0};
    struct buf b = {0};
    struct err e = {0};
    CHECK(row_set_read(&back, dir, &e) == 0 && back.n == 0); /* no file */
    row_set_add(&s, &d);
    row_set_put(&s, &b);
    CHECK(b.n == 24 + 2 * 8);
    save(b.p, b.n);
    CHECK(row_set_read(&back, dir, &e) == 0 && back.n == 2 && row_set_count(&back, &d) == 2);
    row_set_fini(&back);
    for (size_t n = 0; n < b.n; n += 5) {
        struct err cut = {0};
        save(b.p, n);
        CHECK(row_set_read(&back, dir, &cut) == -E_ADAPTER && strstr(cut.msg, ROW_SET_FILE));
    }
    b.p[8] = 2;
    save(b.p, b.n);
    CHECK(row_set_read(&back, dir, &e) == -E_VERSION);
    row_set_fini(&back);
    row_set_fini(&s);
    buf_fini(&b);
}

int main(void)
{
    if (!mkdtemp(dir)) return 1;
    RUN(same_rows, "row_set: what is the same row");
    RUN(rows_without_texts, "row_set: rows of ids alone");
    RUN(file_and_damage, "row_set: file and damage");
    char *path = path_join(dir, ROW_SET_FILE);
    remove(path);
    rmdir(dir);
    free(path);
    return test_failed;
}
