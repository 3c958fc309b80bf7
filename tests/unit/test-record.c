/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-record.c: the field lists against the structs, copying and freeing, the names of stored
 * enums */
#include "model/model.h"

#include <string.h>

static const RecordType *const types[] = {
    &PROJECT,  &USER,        &ROLE,       &ASSIGNMENT, &TOKEN,        &HOST,
    &FLAVOR,   &IMAGE,       &KEYPAIR,    &NETWORK,    &SUBNET,       &PORT,
    &SERVER,   &MIGRATION,   &TASK,       &ACTION,     &ACTION_EVENT, &VOLUME,
    &SNAPSHOT, &VOLUME_TYPE, &ATTACHMENT, &QUOTA,      &DISK_CLIENT,
};

static size_t
field_size(const Field *field)
{
    switch (field->type) {
    case FIELD_TEXT:
        return sizeof(char *);
    case FIELD_INT:
        return sizeof(int64_t);
    case FIELD_BOOL:
        return sizeof(bool);
    case FIELD_ENUM:
        return sizeof(unsigned);
    }
    g_assert_not_reached();
}

static size_t
align_up(size_t offset, size_t alignment)
{
    return (offset + alignment - 1) / alignment * alignment;
}

/* Each field begins where the one before ends: a field of the struct that is not listed would leave
 * a gap. */
static void
test_lists_are_complete(void)
{
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
        const RecordType *type = types[t];
        size_t end = 0;
        for (size_t i = 0; i < type->n_fields; i++) {
            const Field *field = &type->fields[i];
            if (field->offset != align_up(end, field_size(field)))
                g_error("%s: a field is missing before %s", type->table, field->name);
            end = field->offset + field_size(field);
            g_assert_true(record_field(type, field->name) == field);
            g_assert_cmpint(field->names != NULL, ==, field->type == FIELD_ENUM);
        }
        if (align_up(end, sizeof(void *)) != type->size)
            g_error("%s: a field is missing at the end", type->table);
        g_assert_cmpstr(type->fields[0].name, ==, "id");
        g_assert_null(record_field(type, "no_such_field"));
    }
}

static void
test_copy_and_free(void)
{
    for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
        const RecordType *type = types[t];
        char *record = record_new(type);
        for (size_t i = 0; i < type->n_fields; i += 2) {
            if (type->fields[i].type == FIELD_TEXT)
                text_set((char **)(record + type->fields[i].offset), type->fields[i].name);
        }
        char *copy = record_copy(type, record);
        for (size_t i = 0; i < type->n_fields; i++) {
            if (type->fields[i].type != FIELD_TEXT)
                continue;
            char *ours = *(char **)(record + type->fields[i].offset);
            char *theirs = *(char **)(copy + type->fields[i].offset);
            g_assert_cmpstr(ours, ==, theirs);
            g_assert_true(ours == NULL || ours != theirs);
        }
        record_free(type, record);
        record_free(type, copy);
        record_free(type, NULL);
        g_assert_null(record_copy(type, NULL));
    }
}

static void
test_text_set(void)
{
    g_autoptr(Server) server = record_new(&SERVER);
    text_set(&server->name, "one");
    text_set(&server->name, server->name + 1);
    g_assert_cmpstr(server->name, ==, "ne");
    text_set(&server->name, NULL);
    g_assert_null(server->name);
}

static void
check_names(const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_assert_nonnull(names[i]);
        for (size_t j = 0; j < i; j++)
            g_assert_cmpstr(names[i], !=, names[j]);
    }
    g_assert_null(names[count]);
}

static void
test_enum_names(void)
{
    check_names(host_state_names, HOST_DOWN + 1);
    check_names(image_status_names, IMAGE_DELETED + 1);
    check_names(vm_state_names, VM_DELETED + 1);
    check_names(task_state_names, TASK_REBUILDING + 1);
    check_names(power_state_names, POWER_SUSPENDED + 1);
    check_names(migration_status_names, MIGRATION_DONE + 1);
    check_names(migration_wish_names, WISH_FORCE_COMPLETE + 1);
    check_names(task_status_names, TASK_FAILED + 1);
    check_names(task_mark_names, TASK_MARK_UNDO + 1);
    g_assert_cmpstr(task_state_names[TASK_NONE], ==, "");
    g_assert_cmpstr(migration_status_names[MIGRATION_POST_MIGRATING], ==, "post-migrating");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/record/complete", test_lists_are_complete);
    g_test_add_func("/record/copy", test_copy_and_free);
    g_test_add_func("/record/text", test_text_set);
    g_test_add_func("/record/enums", test_enum_names);
    return g_test_run();
}
