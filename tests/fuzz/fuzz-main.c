/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-main.c: runs a fuzz target over its corpus, without libFuzzer
 *
 * Every file given, or in a directory given, is fed as it is and then in a few hundred damaged
 * forms that depend on nothing but its length, so that a failure repeats itself. A target reports a
 * fault by ending the process. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>

#define DAMAGED_FORMS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target gets a copy of exact length, so that a read behind its end is seen by the sanitizers.
 */
static void
feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(1, size ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void
feed_damaged(const uint8_t *data, size_t size)
{
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\\', '%', '[', '<', '\n'};
    g_autofree uint8_t *damaged = g_malloc(size ? size : 1);
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)size);

    for (int form = 0; form < DAMAGED_FORMS && size > 0; form++) {
        size_t length = size;
        int changes = g_rand_int_range(rand, 1, 5);

        memcpy(damaged, data, size);
        for (int i = 0; i < changes; i++) {
            size_t at = (size_t)(g_rand_double(rand) * (double)size);

            if (g_rand_boolean(rand))
                damaged[at] ^= (uint8_t)(1 << g_rand_int_range(rand, 0, 8));
            else
                damaged[at] = telling[g_rand_int_range(rand, 0, (int)sizeof telling)];
        }
        if (form % 4 == 0)
            length = (size_t)(g_rand_double(rand) * (double)size);
        feed(damaged, length);
    }
}

static unsigned
replay(const char *path)
{
    g_autofree char *data = NULL;
    gsize size = 0;
    const char *name;
    unsigned files = 0;

    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        GDir *dir = g_dir_open(path, 0, NULL);

        while (dir && (name = g_dir_read_name(dir))) {
            g_autofree char *inner = g_build_filename(path, name, NULL);

            files += replay(inner);
        }
        if (dir)
            g_dir_close(dir);
        return files;
    }
    if (!g_file_get_contents(path, &data, &size, NULL)) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    feed((const uint8_t *)data, size);
    feed_damaged((const uint8_t *)data, size);
    return 1;
}

int
main(int argc, char **argv)
{
    unsigned files = 0;

    feed((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        files += replay(argv[i]);
    if (files == 0) {
        fprintf(stderr, "no file to replay; give the target's corpus directory\n");
        return 1;
    }
    printf("%u files, each in %d forms\n", files, DAMAGED_FORMS + 1);
    return 0;
}
