/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-api-port.c: which addresses ports get, on a real store */
#include "api/network-priv.h"
#include "store-place.h"

static Network network = {.id = (char *)"n",
                          .name = (char *)"lab",
                          .project_id = (char *)"p",
                          .bridge = (char *)"br0",
                          .mtu = 1500,
                          .admin_state_up = true,
                          .description = (char *)""};

static bool
insert_network(StoreTx *tx, void *opaque, GError **err)
{
    return store_insert(tx, &NETWORK, &network, err);
}

static bool
insert_subnet(StoreTx *tx, void *opaque, GError **err)
{
    Subnet subnet = {.id = (char *)"s",
                     .name = (char *)"",
                     .network_id = (char *)"n",
                     .project_id = (char *)"p",
                     .cidr = (char *)"10.9.0.0/24",
                     .gateway_ip = (char *)"10.9.0.11",
                     .pool_start = (char *)"10.9.0.10",
                     .pool_end = (char *)"10.9.0.12",
                     .dns_nameservers = (char *)"[]",
                     .host_routes = (char *)"[]",
                     .description = (char *)""};

    return store_insert(tx, &SUBNET, &subnet, err);
}

typedef struct Attempt {
    PortRequest request;
    Port *port;
} Attempt;

static bool
create_port(StoreTx *tx, void *opaque, GError **err)
{
    Attempt *attempt = opaque;

    attempt->request.project_id = "p";
    return api_port_create(tx, &network, &attempt->request, &attempt->port, err);
}

static void
assert_gets(Store *store, PortRequest request, const char *address)
{
    Attempt attempt = {.request = request};

    must_write(store, create_port, &attempt);
    g_assert_cmpstr(attempt.port->ip_address, ==, address);
    g_assert_cmpstr(attempt.port->subnet_id, ==, address ? "s" : NULL);
    port_free(attempt.port);
}

static void
assert_refused(Store *store, PortRequest request, ErrCode code)
{
    Attempt attempt = {.request = request};
    g_autoptr(GError) error = NULL;

    g_assert_false(store_write(store, create_port, &attempt, &error));
    g_assert_true(err_is(error, code));
    g_assert_null(attempt.port);
}

static void
test_addresses(Place *place, gconstpointer data)
{
    Store *store = place->store;

    must_write(store, insert_network, NULL);
    assert_gets(store, (PortRequest){0}, NULL); /* no subnet: a card without an address */
    must_write(store, insert_subnet, NULL);
    assert_gets(store, (PortRequest){0}, "10.9.0.10");
    assert_gets(store, (PortRequest){.no_address = true}, NULL);
    assert_gets(store, (PortRequest){.fixed_ip = "10.9.0.77"}, "10.9.0.77"); /* beside the pool */
    assert_gets(store, (PortRequest){0}, "10.9.0.12");                       /* not the gateway */
    assert_refused(store, (PortRequest){0}, ERR_CONFLICT);
    assert_refused(store, (PortRequest){.fixed_ip = "10.9.0.77"}, ERR_CONFLICT);
    assert_refused(store, (PortRequest){.fixed_ip = "10.9.0.11"}, ERR_CONFLICT);
    assert_refused(store, (PortRequest){.fixed_ip = "10.9.0.255"}, ERR_INVALID);
    assert_refused(store, (PortRequest){.fixed_ip = "10.9.1.1"}, ERR_INVALID);
    assert_refused(store, (PortRequest){.fixed_ip = "fe80::1"}, ERR_INVALID);
    assert_refused(store, (PortRequest){.subnet_id = "other"}, ERR_INVALID);
}

static void
test_cards(Place *place, gconstpointer data)
{
    Attempt attempt = {.request = {.device_id = "server",
                                   .mac_address = "FA:16:3E:00:00:01",
                                   .position = 2,
                                   .auto_delete = true}};

    must_write(place->store, insert_network, NULL);
    must_write(place->store, create_port, &attempt);
    g_assert_cmpstr(attempt.port->mac_address, ==, "fa:16:3e:00:00:01");
    g_assert_cmpstr(attempt.port->device_owner, ==, "compute:nova");
    g_assert_true(attempt.port->auto_delete && attempt.port->position == 2);
    port_free(attempt.port);
    assert_refused(place->store, (PortRequest){.mac_address = "fa:16:3e:00:00:01"}, ERR_CONFLICT);
    assert_refused(place->store, (PortRequest){.mac_address = "01:00:5e:00:00:01"}, ERR_INVALID);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/api-port/addresses", Place, NULL, place_make, test_addresses, place_remove);
    g_test_add("/api-port/cards", Place, NULL, place_make, test_cards, place_remove);
    return g_test_run();
}
