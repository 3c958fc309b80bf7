/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz-json.c: request bodies through the parser, the strict readers and JSON patch, with what must
 * hold of each */
#include <string.h>

#include "api/image-priv.h"
#include "api/network-priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
depth_of(const json_t *json)
{
    int deepest = 0;
    json_t *value;
    const char *key;
    size_t i;

    if (json_is_object(json)) {
        json_object_foreach((json_t *)json, key, value)
        {
            int depth = depth_of(value);
            deepest = MAX(deepest, depth);
        }
        return deepest + 1;
    }
    if (json_is_array(json)) {
        json_array_foreach((json_t *)json, i, value)
        {
            int depth = depth_of(value);
            deepest = MAX(deepest, depth);
        }
        return deepest + 1;
    }
    return 0;
}

static void
check_error(bool done, GError *error)
{
    g_assert_true(done == !error);
    if (error) {
        g_assert_true(err_code(error) != ERR_BUG);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        g_error_free(error);
    }
}

/* An order of evaluation for a call that sets error. */
#define CHECK(expression)          \
    do {                           \
        error = NULL;              \
        bool done_ = (expression); \
        check_error(done_, error); \
    } while (0)

static void
read_member(const json_t *object, const char *key)
{
    const json_t *inner = NULL;
    const char *text = NULL;
    GError *error = NULL;
    int64_t number = 5;
    bool flag = false;

    CHECK(json_get_name(object, key, 16, &text, &error));
    g_assert_true(!text || strlen(text) <= 16);
    CHECK(json_get_int(object, key, 0, 10, &number, &error));
    g_assert_true(number >= 0 && number <= 10);
    CHECK(json_get_bool(object, key, &flag, &error));
    CHECK(json_get_object(object, key, &inner, &error));
    CHECK(json_get_array(object, key, 3, &inner, &error));
    g_assert_true(!inner || json_array_size(inner) <= 3);
    if (json_get_text(object, key, 64, &text, NULL) && text) {
        g_autofree char *mac = mac_canonical(text);
        Cidr cidr;

        g_assert_true(!mac || strlen(mac) == 17);
        CHECK(cidr_parse(text, &cidr, &error));
    }
}

static void
apply_patch(const json_t *patch)
{
    Caller caller = {.project_id = (char *)"p", .is_member = true};
    ApiCall call = {.caller = &caller};
    g_autoptr(Image) image = record_new(&IMAGE);
    json_auto_t *properties = json_pack("{s:s}", "known", "x");
    GError *error = NULL;
    bool done;

    image->id = g_strdup("i");
    image->owner = g_strdup("p");
    image->visibility = g_strdup("shared");
    image->tags = g_strdup("[]");
    done = image_apply_patch(&call, image, properties, patch, &error);
    check_error(done, error);
    g_assert_cmpstr(image->owner, ==, "p");
    g_assert_cmpstr(image->visibility, !=, "public");
    g_assert_true(json_object_size(properties) <= IMAGE_PROPERTIES_MAX + 1);
    if (done) {
        g_autofree char *text = json_to_text(properties);
        json_auto_t *view = NULL;

        image->properties = g_steal_pointer(&text);
        view = view_image(image);
        g_assert_cmpstr(json_string_value(json_object_get(view, "id")), ==, "i");
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GError *error = NULL;
    json_auto_t *json = json_parse_request((const char *)data, size, &error);
    json_auto_t *again = NULL;
    g_autofree char *text = NULL;
    const char *key;
    json_t *value;

    check_error(json != NULL, error);
    if (!json)
        return 0;
    g_assert_true(json_is_object(json) || json_is_array(json));
    g_assert_cmpint(depth_of(json), <=, 32);
    text = json_to_text(json);
    again = json_parse_request(text, strlen(text), NULL);
    g_assert_true(json_equal(json, again));
    json_object_foreach(json, key, value) read_member(json, key);
    if (json_is_array(json))
        apply_patch(json);
    return 0;
}
