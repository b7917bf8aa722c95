#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dispatcher/cli/ffmpeg.h"
#include "dispatcher/cli/jpegs.h"
#include "dispatcher/cli/video_job.h"
#include "schemas/err.h"

/*
 * SOI, a segment that holds what looks like an end, a fill byte, a scan with a
 * stuffed 0xff and a restart marker, EOI.
 */
#define IMAGE                                                                  \
    "\xff\xd8\xff\xe0\x00\x06\xff\xd9\xff\xd8\xff\xff\xda\x00\x03z"            \
    "ab\xff\x00"                                                               \
    "c\xff\xd3"                                                                \
    "d\xff\xd9"
#define LEN (sizeof(IMAGE) - 1)

static int take_all(struct bf_jpegs *jpegs, struct bf_err *err)
{
    struct bf_slice image;
    int status, count = 0;

    while ((status = bf_jpegs_next(jpegs, &image, err)) > 0) {
        assert_int_equal(image.len, LEN);
        assert_memory_equal(image.ptr, IMAGE, LEN);
        count++;
    }
    return status < 0 ? -1 : count;
}

static void test_images_however_they_are_cut(void **state)
{
    static const char stream[] = IMAGE IMAGE IMAGE;

    (void)state;
    for (size_t step = 1; step <= sizeof(stream) - 1; step++) {
        bf_autojpegs struct bf_jpegs jpegs;
        int count = 0;

        bf_jpegs_init(&jpegs, LEN);
        for (size_t at = 0; at < sizeof(stream) - 1; at += step) {
            size_t left = sizeof(stream) - 1 - at;
            struct bf_slice more = {stream + at, left < step ? left : step};

            assert_int_equal(bf_jpegs_add(&jpegs, more, NULL), 0);
            count += take_all(&jpegs, NULL);
        }
        assert_int_equal(count, 3);
        assert_false(bf_jpegs_cut(&jpegs));
    }
}

static void test_an_image_that_is_cut(void **state)
{
    bf_autojpegs struct bf_jpegs jpegs;

    (void)state;
    bf_jpegs_init(&jpegs, 1000);
    assert_int_equal(
        bf_jpegs_add(&jpegs, (struct bf_slice){IMAGE IMAGE, 2 * LEN - 1}, NULL),
        0);
    assert_int_equal(take_all(&jpegs, NULL), 1);
    assert_true(bf_jpegs_cut(&jpegs));
}

static void test_what_is_no_image(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"GIF89a", 6},           {"\xff\xd9\xff\xd9", 4},
        {"\xff\xd8\x00\x00", 4}, {"\xff\xd8\xff\x00", 4},
        {"\xff\xd8\xff\xd8", 4}, {"\xff\xd8\xff\xe0\x00\x01", 6},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autojpegs struct bf_jpegs jpegs;
        struct bf_slice more = {rows[i].bytes, rows[i].len};
        struct bf_err err = {0};

        bf_jpegs_init(&jpegs, 1000);
        assert_int_equal(bf_jpegs_add(&jpegs, more, &err), 0);
        assert_int_equal(take_all(&jpegs, &err), -1);
        assert_string_equal(err.code, "bad_jpeg");
    }
}

static void test_an_image_over_the_ceiling(void **state)
{
    static char pixels[BF_JPEGS_READ];
    bf_autojpegs struct bf_jpegs jpegs;
    struct bf_err err = {0};
    struct bf_slice image;
    int status = 0;

    (void)state;
    bf_jpegs_init(&jpegs, 100000);
    assert_int_equal(bf_jpegs_add(&jpegs, (struct bf_slice){IMAGE, 16}, NULL),
                     0);
    for (int i = 0; i < 8 && status == 0; i++) {
        status = bf_jpegs_add(&jpegs, (struct bf_slice){pixels, sizeof(pixels)},
                              &err);
        if (status == 0)
            assert_int_equal(bf_jpegs_next(&jpegs, &image, &err), 0);
    }
    assert_int_equal(status, -1);
    assert_string_equal(err.code, "too_large");
}

static void test_rates(void **state)
{
    unsigned num = 0, den = 0;

    (void)state;
    assert_int_equal(bf_ffmpeg_rate("30000/1001", &num, &den), 0);
    assert_int_equal(num, 30000);
    assert_int_equal(den, 1001);
    assert_int_equal(bf_ffmpeg_rate("5", &num, &den), 0);
    assert_int_equal(num, 5);
    assert_int_equal(den, 1);
    for (const char *const *bad =
             (const char *const[]){"", "0", "0/0", "5/0", "1/2/3", "-1", "2.5",
                                   NULL};
         *bad; bad++)
        assert_int_equal(bf_ffmpeg_rate(*bad, &num, &den), -1);
}

static void test_ids_of_frames(void **state)
{
    struct bf_video_job video = {.batch = "clip.1-x", .per_job = 4};
    char id[BF_MAX_ID + 1];

    (void)state;
    bf_video_job_id(&video, 40, id);
    assert_string_equal(id, "clip.1-x.4x000040");
    assert_int_equal(bf_video_job_frame(&video, id), 40);
    assert_int_equal(bf_video_job_others(&video, id), 0);
    assert_int_equal(bf_video_job_first(&video, 42), 40);
    for (const char *const *other =
             (const char *const[]){
                 "clip.1-x", "clip.1-x.00042", "clip.1.000042",
                 "clip.1-x.00004z", "clip.1-x.4x00042", "clip.1-x.x000042",
                 "clip.1-x.4x4x000042", "clip.1-x.0000420",
                 "clip.1-x.99999999999999999999x000042", NULL};
         *other; other++) {
        assert_int_equal(bf_video_job_frame(&video, *other), -1);
        assert_int_equal(bf_video_job_others(&video, *other), 0);
    }
}

static void test_ids_of_another_number_of_frames(void **state)
{
    struct bf_video_job video = {.batch = "clip", .per_job = 1};
    char id[BF_MAX_ID + 1];

    (void)state;
    bf_video_job_id(&video, 42, id);
    assert_string_equal(id, "clip.000042");
    assert_int_equal(bf_video_job_frame(&video, id), 42);
    assert_int_equal(bf_video_job_frame(&video, "clip.4x000042"), -1);
    assert_int_equal(bf_video_job_others(&video, "clip.4x000042"), 4);
    video.per_job = 1000;
    assert_int_equal(bf_video_job_frame(&video, id), -1);
    assert_int_equal(bf_video_job_others(&video, id), 1);
    memset(video.batch, 'a', BF_VIDEO_BATCH);
    bf_video_job_id(&video, BF_VIDEO_FRAMES - 1, id);
    assert_int_equal(bf_video_job_frame(&video, id), BF_VIDEO_FRAMES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_however_they_are_cut),
        cmocka_unit_test(test_an_image_that_is_cut),
        cmocka_unit_test(test_what_is_no_image),
        cmocka_unit_test(test_an_image_over_the_ceiling),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_ids_of_frames),
        cmocka_unit_test(test_ids_of_another_number_of_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
