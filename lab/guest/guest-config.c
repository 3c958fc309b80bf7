/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest-config.c: the config drive: the guest's addresses and what it shall do. */

#include "guestd.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#define MOUNT_POINT "/config"
#define TEXT_MAX    65536

/* An ISO 9660 volume has its descriptor at byte 32768 and its label 40 bytes into it. */
static bool
is_config_drive(const char *dev)
{
    char d[2048];
    int fd = open(dev, O_RDONLY | O_CLOEXEC);
    bool found;

    if (fd < 0) {
        return false;
    }
    found = pread(fd, d, sizeof(d), 32768) == (ssize_t)sizeof(d) &&
            memcmp(d + 1, "CD001", 5) == 0 && strncasecmp(d + 40, "config-2", 8) == 0;
    close(fd);
    return found;
}

static bool
mount_config_drive(void)
{
    char dev[] = "/dev/sr0";
    bool found = is_config_drive(dev);

    if (!found) {
        /* As a plain disk, which is how other systems give it. */
        strcpy(dev, "/dev/vda");
        while (!(found = is_config_drive(dev)) && dev[7] < 'z') {
            dev[7]++;
        }
    }
    if (found && mount(dev, MOUNT_POINT, "iso9660", MS_RDONLY, NULL) == 0) {
        return true;
    }
    if (found) {
        guest_error("config drive %s: mount: %s", dev, strerror(errno));
    }
    return false;
}

static char *
read_text(const char *path)
{
    char *text = calloc(1, TEXT_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n = 0;

    while (fd >= 0 && text && used < TEXT_MAX && (n = read(fd, text + used, TEXT_MAX - used)) > 0) {
        used += (size_t)n;
    }
    if (fd < 0 || !text || n < 0) {
        guest_error("%s: %s", path, strerror(errno));
        free(text);
        text = NULL;
    }
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

/* Finds the name of the card with the address mac. */
static bool
find_card(const char *mac, char name[IFNAMSIZ])
{
    DIR *dir = opendir("/sys/class/net");
    struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir))) {
        char path[300], have[32] = "";
        FILE *f;
        if (e->d_name[0] == '.' || strlen(e->d_name) >= IFNAMSIZ) {
            continue;
        }
        snprintf(path, sizeof(path), "/sys/class/net/%s/address", e->d_name);
        f = fopen(path, "re");
        if (f && fgets(have, sizeof(have), f) && strncasecmp(have, mac, 17) == 0) {
            strcpy(name, e->d_name);
            found = true;
        }
        if (f) {
            fclose(f);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static bool
set_in(struct sockaddr *to, const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};

    if (inet_pton(AF_INET, text, &a.sin_addr) != 1) {
        return false;
    }
    memcpy(to, &a, sizeof(a));
    return true;
}

static bool
card_up(int fd, const char *name)
{
    struct ifreq r = {0};

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &r) < 0) {
        return false;
    }
    r.ifr_flags |= IFF_UP | IFF_RUNNING;
    return ioctl(fd, SIOCSIFFLAGS, &r) == 0;
}

static bool
card_address(int fd, const char *name, const char *address, const char *netmask)
{
    struct ifreq r = {0};

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (!set_in(&r.ifr_addr, address) || ioctl(fd, SIOCSIFADDR, &r) < 0) {
        return false;
    }
    return set_in(&r.ifr_netmask, netmask) && ioctl(fd, SIOCSIFNETMASK, &r) == 0;
}

static bool
card_mtu(int fd, const char *name, int mtu)
{
    struct ifreq r = {0};

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    r.ifr_mtu = mtu;
    return ioctl(fd, SIOCSIFMTU, &r) == 0;
}

static bool
add_route(int fd, const char *network, const char *netmask, const char *gateway)
{
    struct rtentry r = {.rt_flags = RTF_UP | RTF_GATEWAY};

    return set_in(&r.rt_dst, network) && set_in(&r.rt_genmask, netmask) &&
           set_in(&r.rt_gateway, gateway) && (ioctl(fd, SIOCADDRT, &r) == 0 || errno == EEXIST);
}

static void
apply_routes(int fd, const char *network)
{
    const char *routes = json_member(network, "routes");
    const char *route;

    for (unsigned i = 0; (route = json_element(routes, i)); i++) {
        char net[64], mask[64], gateway[64];
        if (!json_text(json_member(route, "network"), net, sizeof(net)) ||
            !json_text(json_member(route, "netmask"), mask, sizeof(mask)) ||
            !json_text(json_member(route, "gateway"), gateway, sizeof(gateway))) {
            guest_error("network_data.json: route %u is incomplete", i);
        } else if (!add_route(fd, net, mask, gateway)) {
            guest_error("route %s via %s: %s", net, gateway, strerror(errno));
        }
    }
}

/* The link that a network names; its card's name goes to name. */
static bool
find_link(const char *data, const char *network, char name[IFNAMSIZ], int *mtu)
{
    const char *links = json_member(data, "links");
    const char *link;
    char want[128], have[128], mac[32], text[16];

    if (!json_text(json_member(network, "link"), want, sizeof(want))) {
        return false;
    }
    for (unsigned i = 0; (link = json_element(links, i)); i++) {
        if (!json_text(json_member(link, "id"), have, sizeof(have)) || strcmp(have, want) != 0 ||
            !json_text(json_member(link, "ethernet_mac_address"), mac, sizeof(mac))) {
            continue;
        }
        *mtu = json_text(json_member(link, "mtu"), text, sizeof(text)) ? atoi(text) : 0;
        return find_card(mac, name);
    }
    return false;
}

static void
apply_network(int fd, const char *data, const char *network)
{
    char type[32], address[64], netmask[64], name[IFNAMSIZ];
    char *slash;
    int mtu = 0;

    if (!json_text(json_member(network, "type"), type, sizeof(type)) || strcmp(type, "ipv4") != 0) {
        return;
    }
    if (!json_text(json_member(network, "ip_address"), address, sizeof(address)) ||
        !json_text(json_member(network, "netmask"), netmask, sizeof(netmask))) {
        guest_error("network_data.json: a network without ip_address or netmask");
        return;
    }
    slash = strchr(address, '/');
    if (slash) {
        *slash = '\0';
    }
    if (!find_link(data, network, name, &mtu)) {
        guest_error("no card for the network of %s", address);
        return;
    }
    if (mtu > 0 && !card_mtu(fd, name, mtu)) {
        guest_error("%s: mtu %d: %s", name, mtu, strerror(errno));
    }
    if (!card_address(fd, name, address, netmask) || !card_up(fd, name)) {
        guest_error("%s: address %s: %s", name, address, strerror(errno));
        return;
    }
    apply_routes(fd, network);
    guest_say("%s has %s", name, address);
}

static void
apply_network_data(const char *data)
{
    const char *networks = json_member(data, "networks");
    const char *network;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    for (unsigned i = 0; fd >= 0 && (network = json_element(networks, i)); i++) {
        apply_network(fd, data, network);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void
apply_meta_data(const char *data)
{
    const char *meta = json_member(data, "meta");
    char text[32];

    if (json_text(json_member(data, "uuid"), text, sizeof(text)) ||
        json_text(json_member(data, "name"), text, sizeof(text))) {
        guest_say("config drive of %s", text);
    }
    if (json_text(json_member(meta, "dirty_mib"), text, sizeof(text))) {
        guest_counters.dirty_mib = strtoull(text, NULL, 10);
    }
    if (json_text(json_member(meta, "dirty_mib_s"), text, sizeof(text))) {
        guest_counters.dirty_mib_s = strtoull(text, NULL, 10);
    }
}

void
config_apply(void)
{
    char *text;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        card_up(fd, "lo");
        close(fd);
    }
    if (!mount_config_drive()) {
        guest_say("no config drive");
        return;
    }
    if ((text = read_text(MOUNT_POINT "/openstack/latest/network_data.json"))) {
        apply_network_data(text);
        free(text);
    }
    if ((text = read_text(MOUNT_POINT "/openstack/latest/meta_data.json"))) {
        apply_meta_data(text);
        free(text);
    }
    umount(MOUNT_POINT);
}
