/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-api-body.c: strict readers of JSON, faults in each service's form, addresses as text */
#include <string.h>

#include "api/image-priv.h"
#include "api/network-priv.h"

static json_t *
parse(const char *text, GError **err)
{
    return json_parse_request(text, strlen(text), err);
}

static char *
nested(int depth)
{
    GString *text = g_string_new(NULL);

    for (int i = 0; i < depth; i++)
        g_string_append(text, "{\"a\":");
    g_string_append(text, "1");
    for (int i = 0; i < depth; i++)
        g_string_append(text, "}");
    return g_string_free(text, FALSE);
}

static void
test_parse(void)
{
    static const char *const bad[] = {
        "",
        "x",
        "{",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1}x",
        "\"text\"",
        "1",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":99999999999999999999}",
        "{\"a\":01}",
        "[1,]",
    };
    g_autofree char *deepest = nested(32), *too_deep = nested(33);
    json_auto_t *good = parse(deepest, NULL);
    json_auto_t *brackets =
        parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"}", NULL);

    g_assert_nonnull(good);
    g_assert_nonnull(brackets); /* within a string they do not count */
    g_assert_null(parse(too_deep, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(bad[i], &error));
        g_assert_true(err_is(error, ERR_INVALID));
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
}

static void
test_readers(void)
{
    json_auto_t *body = parse("{\"text\":\"abc\",\"null\":null,\"int\":12,\"digits\":\"12\","
                              "\"yes\":\"true\",\"one\":1,\"no\":false,\"bell\":\"a\\u0007\","
                              "\"empty\":\"\",\"list\":[1,2],\"object\":{}}",
                              NULL);
    g_autoptr(GError) error = NULL;
    const char *text = "before";
    const json_t *value;
    int64_t number = 7;
    bool flag = false;

    g_assert_true(json_get_text(body, "text", 3, &text, NULL));
    g_assert_cmpstr(text, ==, "abc");
    g_assert_false(json_get_text(body, "text", 2, &text, &error));
    g_assert_nonnull(strstr(error->message, "'text'"));
    g_clear_error(&error);
    g_assert_true(json_get_text(body, "null", 3, &text, NULL) && !text);
    g_assert_true(json_get_text(body, "absent", 3, &text, NULL) && !text);
    g_assert_false(json_get_text(body, "int", 3, &text, NULL));
    g_assert_false(json_need_text(body, "null", 3, &text, NULL));
    g_assert_false(json_need_text(body, "empty", 3, &text, NULL));
    g_assert_false(json_need_name(body, "bell", 9, &text, NULL));
    g_assert_true(json_get_text(body, "bell", 9, &text, NULL));

    g_assert_true(json_get_int(body, "absent", 0, 9, &number, NULL));
    g_assert_cmpint(number, ==, 7);
    g_assert_true(json_get_int(body, "int", 0, 12, &number, NULL));
    g_assert_true(json_get_int(body, "digits", 0, 12, &number, NULL));
    g_assert_cmpint(number, ==, 12);
    g_assert_false(json_get_int(body, "int", 0, 11, &number, NULL));
    g_assert_false(json_get_int(body, "text", 0, 99, &number, NULL));
    g_assert_false(json_get_int(body, "no", 0, 99, &number, NULL));

    g_assert_true(json_get_bool(body, "yes", &flag, NULL) && flag);
    g_assert_true(json_get_bool(body, "no", &flag, NULL) && !flag);
    g_assert_true(json_get_bool(body, "one", &flag, NULL) && flag);
    g_assert_false(json_get_bool(body, "text", &flag, NULL));
    g_assert_false(json_get_bool(body, "list", &flag, NULL));

    g_assert_true(json_get_array(body, "list", 2, &value, NULL) && value);
    g_assert_false(json_get_array(body, "list", 1, &value, NULL));
    g_assert_false(json_get_object(body, "list", &value, NULL));
    g_assert_true(json_need_object(body, "object", &value, NULL));
    g_assert_false(json_need_object(body, "null", &value, NULL));
    g_assert_false(json_only_keys(body, &error, "text", "null", NULL));
    g_assert_nonnull(strstr(error->message, "'int'"));
}

static void
test_stored(void)
{
    json_auto_t *object = json_parse_stored(NULL, JSON_OBJECT);
    json_auto_t *wrong = json_parse_stored("{}", JSON_ARRAY);
    json_auto_t *list = json_parse_stored("[1]", JSON_ARRAY);
    g_autofree char *text = json_to_text(list);

    g_assert_true(json_is_object(object));
    g_assert_true(json_is_array(wrong) && json_array_size(wrong) == 0);
    g_assert_cmpstr(text, ==, "[1]");
}

static void
assert_fault(ApiService service, int status, const char *expected)
{
    json_auto_t *body = api_fault_body(service, status, "why");
    json_auto_t *wanted = json_loads(expected, 0, NULL);

    g_assert_nonnull(wanted);
    if (!json_equal(body, wanted)) {
        g_autofree char *got = json_to_text(body);
        g_error("%s is not %s", got, expected);
    }
}

static void
test_faults(void)
{
    assert_fault(API_COMPUTE, 404, "{\"itemNotFound\":{\"code\":404,\"message\":\"why\"}}");
    assert_fault(API_COMPUTE, 409, "{\"conflictingRequest\":{\"code\":409,\"message\":\"why\"}}");
    assert_fault(API_COMPUTE, 406, "{\"computeFault\":{\"code\":406,\"message\":\"why\"}}");
    assert_fault(API_VOLUME, 400, "{\"badRequest\":{\"code\":400,\"message\":\"why\"}}");
    assert_fault(API_COMPUTE, 401,
                 "{\"error\":{\"code\":401,\"title\":\"Unauthorized\",\"message\":\"why\"}}");
    assert_fault(API_IDENTITY, 409,
                 "{\"error\":{\"code\":409,\"title\":\"Conflict\",\"message\":\"why\"}}");
    assert_fault(API_NETWORK, 409,
                 "{\"NeutronError\":{\"type\":\"Conflict\",\"message\":\"why\",\"detail\":\"\"}}");
    assert_fault(API_GODWIT, 404,
                 "{\"error\":{\"code\":404,\"name\":\"not-found\",\"message\":\"why\"}}");
    assert_fault(API_COMPUTE, 418, "{\"badRequest\":{\"code\":418,\"message\":\"why\"}}");
    assert_fault(API_COMPUTE, 599, "{\"computeFault\":{\"code\":599,\"message\":\"why\"}}");
}

static void
test_fault_utf8(void)
{
    json_auto_t *body = api_fault_body(API_COMPUTE, 400,
                                       "a\xff"
                                       "b");

    g_assert_nonnull(body);
}

static void
test_addresses(void)
{
    static const char *const bad_cidrs[] = {
        "",
        "10.0.0.0",
        "10.0.0.0/31",
        "10.0.0.0/7",
        "10.0.0/24",
        "::/16",
        "127.0.0.0/8",
        "224.0.0.0/8",
        "10.0.0.0/24 ",
        "0.0.0.0/8",
        "10.0.0.0/-1",
    };
    static const char *const bad_macs[] = {
        "",  "fa:16:3e:00:00",    "01:00:5e:00:00:01",    "00:00:00:00:00:00", "fa-16-3e-00-00-01",
        "g", "fa:16:3e:00:00:0g", "fa:16:3e:00:00:01:02",
    };
    g_autofree char *mac = mac_canonical("FA:16:3E:00:0a:01");
    g_autofree char *text = NULL;
    Cidr cidr, other;

    g_assert_true(cidr_parse("10.88.1.77/24", &cidr, NULL));
    text = cidr_format(&cidr);
    g_assert_cmpstr(text, ==, "10.88.1.0/24");
    g_assert_false(cidr_has_host(&cidr, cidr.first));
    g_assert_false(cidr_has_host(&cidr, cidr.last));
    g_assert_true(cidr_has_host(&cidr, cidr.first + 1));
    g_assert_true(cidr_parse("10.88.0.0/16", &other, NULL) && cidr_overlaps(&cidr, &other));
    g_assert_true(cidr_parse("10.88.2.0/24", &other, NULL) && !cidr_overlaps(&cidr, &other));
    for (size_t i = 0; i < G_N_ELEMENTS(bad_cidrs); i++)
        g_assert_false(cidr_parse(bad_cidrs[i], &cidr, NULL));
    g_assert_cmpstr(mac, ==, "fa:16:3e:00:0a:01");
    for (size_t i = 0; i < G_N_ELEMENTS(bad_macs); i++)
        g_assert_null(mac_canonical(bad_macs[i]));
}

static Image *
image_queued(void)
{
    Image *image = record_new(&IMAGE);

    image->id = uuid_new();
    image->owner = g_strdup("p");
    image->visibility = g_strdup("shared");
    image->tags = g_strdup("[]");
    return image;
}

static void
test_patch(void)
{
    static const struct {
        const char *patch;
        ErrCode code; /* 0: accepted */
    } cases[] = {
        {"[{\"op\":\"add\",\"path\":\"/a.b~1c\",\"value\":\"x\"}]", 0},
        {"[{\"op\":\"replace\",\"path\":\"/a.b~1c\",\"value\":\"\"}]", 0},
        {"[{\"op\":\"remove\",\"path\":\"/a.b~1c\"}]", 0},
        {"[{\"op\":\"remove\",\"path\":\"/a.b~1c\"}]", ERR_CONFLICT},
        {"[{\"op\":\"replace\",\"path\":\"/none\",\"value\":\"\"}]", ERR_CONFLICT},
        {"[{\"op\":\"replace\",\"path\":\"/name\",\"value\":\"n\"}]", 0},
        {"[{\"op\":\"replace\",\"path\":\"/name\",\"value\":7}]", ERR_INVALID},
        {"[{\"op\":\"remove\",\"path\":\"/name\"}]", ERR_FORBIDDEN},
        {"[{\"op\":\"replace\",\"path\":\"/status\",\"value\":\"active\"}]", ERR_FORBIDDEN},
        {"[{\"op\":\"replace\",\"path\":\"/visibility\",\"value\":\"public\"}]", ERR_FORBIDDEN},
        {"[{\"op\":\"replace\",\"path\":\"/visibility\",\"value\":\"secret\"}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/tags\",\"value\":[\"a\",\"a\",\"b\"]}]", 0},
        {"[{\"op\":\"add\",\"path\":\"/tags\",\"value\":[1]}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/x/y\",\"value\":\"z\"}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"x\",\"value\":\"z\"}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/x~2\",\"value\":\"z\"}]", ERR_INVALID},
        {"[{\"op\":\"move\",\"path\":\"/x\",\"value\":\"z\"}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/x\"}]", ERR_INVALID},
        {"[7]", ERR_INVALID},
    };
    Caller caller = {.project_id = (char *)"p", .is_member = true};
    ApiCall call = {.caller = &caller};
    g_autoptr(Image) image = image_queued();
    json_auto_t *properties = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        json_auto_t *patch = parse(cases[i].patch, NULL);
        bool done = image_apply_patch(&call, image, properties, patch, &error);

        g_test_message("%s", cases[i].patch);
        g_assert_true(done == !cases[i].code);
        g_assert_true(done || err_is(error, cases[i].code));
    }
    g_assert_cmpstr(image->name, ==, "n");
    g_assert_cmpstr(image->tags, ==, "[\"a\",\"b\"]");
    g_assert_cmpuint(json_object_size(properties), ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/api-body/parse", test_parse);
    g_test_add_func("/api-body/readers", test_readers);
    g_test_add_func("/api-body/stored", test_stored);
    g_test_add_func("/api-body/faults", test_faults);
    g_test_add_func("/api-body/fault-utf8", test_fault_utf8);
    g_test_add_func("/api-body/addresses", test_addresses);
    g_test_add_func("/api-body/patch", test_patch);
    return g_test_run();
}
