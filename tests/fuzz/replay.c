/*
 * Stands in for libFuzzer where it is not: gives every file of the folders
 * named on the command line to the target, once.
 */

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0, cap = 0;

    if (!file)
        return -1;
    do {
        cap = cap ? cap * 2 : 4096;
        data = realloc(data, cap);
        if (!data)
            abort();
        size += fread(data + size, 1, cap - size, file);
    } while (size == cap);
    fclose(file);
    /* A copy of the exact size: one byte too far is seen by ASan. */
    data = realloc(data, size ? size : 1);
    if (!data)
        abort();
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry = NULL;
    int count = 0;

    if (!dir)
        return -1;
    for (entry = readdir(dir); entry; entry = readdir(dir)) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        count += replay_file(path) == 0;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int count = replay_folder(argv[i]);

        if (count <= 0) {
            fprintf(stderr, "%s: %s\n", argv[i],
                    count < 0 ? strerror(errno) : "no corpus");
            return 1;
        }
        total += count;
    }
    printf("%d inputs\n", total);
    return 0;
}
