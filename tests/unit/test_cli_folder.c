#include "tests/unit/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dispatcher/cli/folder.h"
#include "schemas/hash.h"

static char folder[] = "/tmp/blockfleet-folder-XXXXXX";

static void put(const char *name, const char *bytes)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(bytes, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int clear(void **state)
{
    static const char *const names[] = {"b.jpg", "a.PNG", "10.jpeg", ".x.jpg",
                                        "notes.txt"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < bf_countof(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return 0;
}

static int leave(void **state)
{
    clear(state);
    return rmdir(folder);
}

static void test_images_by_name(void **state)
{
    bf_cleanup(bf_folder_release) struct bf_folder images = {0};
    bf_autobuf struct bf_buf names = BF_BUF_INIT(100), bytes = BF_BUF_INIT(8);

    (void)state;
    put("b.jpg", "two");
    put("a.PNG", "one");
    put("10.jpeg", "zero");
    put(".x.jpg", "hidden");
    put("notes.txt", "no image");
    assert_int_equal(
        bf_folder_init(&images, folder, bf_folder_is_image, 3, NULL), 0);
    assert_int_equal(bf_folder_list(&images, &names, NULL), 0);
    assert_string_equal(names.data, "10.jpeg\na.PNG\nb.jpg\n");
    assert_int_equal(bf_folder_read(&images, 1, &bytes, NULL), 0);
    assert_slice(bf_buf_slice(&bytes), "one");
}

static void test_all_files_but_no_folders(void **state)
{
    bf_cleanup(bf_folder_release) struct bf_folder all = {0};
    bf_autobuf struct bf_buf names = BF_BUF_INIT(100);
    char path[128];

    (void)state;
    put("b.jpg", "two");
    put(".x.jpg", "hidden");
    put("notes.txt", "no image");
    snprintf(path, sizeof(path), "%s/a.PNG", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(bf_folder_init(&all, folder, NULL, 9, NULL), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(bf_folder_list(&all, &names, NULL), 0);
    assert_string_equal(names.data, "b.jpg\nnotes.txt\n");
}

static void hash_all(unsigned char out[BF_HASH128_BYTES])
{
    bf_cleanup(bf_folder_release) struct bf_folder images = {0};
    bf_autobuf struct bf_buf scratch = BF_BUF_INIT(8);
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    assert_int_equal(
        bf_folder_init(&images, folder, bf_folder_is_image, 3, NULL), 0);
    assert_int_equal(bf_folder_hash(&images, &hash, &scratch, NULL), 0);
    bf_hash_final(&hash, out);
}

static void test_another_pixel_is_another_batch(void **state)
{
    unsigned char before[BF_HASH128_BYTES], after[BF_HASH128_BYTES];

    (void)state;
    put("a.PNG", "one");
    put("b.jpg", "two");
    hash_all(before);
    hash_all(after);
    assert_memory_equal(before, after, sizeof(before));
    put("b.jpg", "tWo");
    hash_all(after);
    assert_memory_not_equal(before, after, sizeof(before));
}

static void test_ceilings(void **state)
{
    bf_cleanup(bf_folder_release) struct bf_folder few = {0}, one = {0};
    bf_cleanup(bf_folder_release) struct bf_folder none = {0}, gone = {0};
    bf_autobuf struct bf_buf bytes = BF_BUF_INIT(8);
    struct bf_err err = {0};

    (void)state;
    assert_refused(bf_folder_init(&none, folder, bf_folder_is_image, 3, &err),
                   err, "local");
    assert_non_null(strstr(err.msg, "has no .jpg"));
    put("a.PNG", "nine bytes");
    assert_int_equal(bf_folder_init(&one, folder, NULL, 1, NULL), 0);
    assert_refused(bf_folder_read(&one, 0, &bytes, &err), err, "local");
    assert_non_null(strstr(err.msg, "a.PNG is larger than 8 bytes"));
    put("b.jpg", "two");
    assert_refused(bf_folder_init(&few, folder, NULL, 1, &err), err, "local");
    assert_non_null(strstr(err.msg, "more than 1 files"));
    assert_refused(bf_folder_init(&gone, "/nowhere/at/all", NULL, 1, &err), err,
                   "local");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_images_by_name, clear),
        cmocka_unit_test_teardown(test_all_files_but_no_folders, clear),
        cmocka_unit_test_teardown(test_another_pixel_is_another_batch, clear),
        cmocka_unit_test_teardown(test_ceilings, clear),
    };

    return cmocka_run_group_tests(tests, make, leave);
}
