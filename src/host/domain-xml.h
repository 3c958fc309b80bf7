/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domain-xml.h: the XML that the libvirt driver writes and reads; the only users of libxml2.
 *
 * Builders go through the tree API, so that a value can never become markup. Readers take at most
 * XML_MOST bytes, refuse document types (and with them entities), follow no reference, and never
 * trust a node's answer to be well-formed. Pure: no I/O, any thread, after xml_init. */
#pragma once

#include "host/host.h"
#include <libxml/tree.h>

#define XML_MOST             ((size_t)4 * 1024 * 1024)
#define XML_NAME_MOST        255
#define XML_PATH_MOST        4095
#define XML_DOMAIN_NAMESPACE "https://godwit.org/xmlns/domain/1"

void xml_init(void); /* once, before the first thread that parses */

/* ---- the tree, for the other readers of this directory ---------------------------------- */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
/* text whose root element is called root; what names it in errors. ERR_INVALID. */
xmlDoc *xml_parse(const char *text, const char *root, const char *what, GError **err);
xmlNode *
xml_child(const xmlNode *node, const char *name); /* first child element; NULL node: NULL */
xmlNode *xml_next(const xmlNode *node);           /* next sibling element of that name */
char *xml_attribute(const xmlNode *node, const char *name); /* NULL: absent */
char *xml_text(const xmlNode *node);                        /* NULL for a NULL node */
char *xml_dump(xmlNode *node);                              /* the element as text, indented */
xmlDoc *xml_new(const char *root);
xmlNode *xml_add(xmlNode *parent, const char *name, const char *text); /* text may be NULL */
void xml_set(xmlNode *node, const char *name, const char *value);
/* An empty element with attributes: pairs of name and value, ended by NULL. */
xmlNode *xml_add_with(xmlNode *parent, const char *name, ...) G_GNUC_NULL_TERMINATED;
/* What a text or an absolute path of a spec may be; ERR_INVALID names field. */
bool xml_spec_text(const char *field, const char *value, size_t most, GError **err);
bool xml_spec_path(const char *field, const char *value, GError **err);

/* ---- domains ---------------------------------------------------------------------------- */
/* The domain of spec. ERR_INVALID names the field that cannot be. */
char *domain_xml_build(const ServerSpec *spec, GError **err);

typedef struct DomainXml {
    char *machine; /* versioned, if libvirt wrote the XML */
    char *cpu;     /* the <cpu> element, NULL: none */
    bool ours;     /* has Godwit's metadata element */
} DomainXml;
void domain_xml_free(DomainXml *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainXml, domain_xml_free)
DomainXml *domain_xml_read(const char *text, GError **err);

/* A guest that has disk and nothing else, never meant to run; it does not carry Godwit's metadata.
 */
char *probe_xml_build(const char *uuid, const char *virt_type, const DiskSpec *disk, GError **err);
char *secret_xml_build(const char *uuid, const char *usage); /* for a key of Ceph */

/* ---- disks (disk-xml.c) ----------------------------------------------------------------- */
enum {
    DISKS_MOST = 26 /* that the PCI bus of an i440fx has room for, with a few network cards less */
};

bool disk_xml_check(const DiskSpec *disks, size_t n, GError **err); /* ERR_INVALID */
/* Add checked disks; those without a target get the next free one. The first that is no CD-ROM
 * boots. */
void disk_xml_add(xmlNode *devices, const char *machine, const DiskSpec *disks, size_t n);
/* The element of one more disk, which is no CD-ROM. */
char *disk_xml_build(const DiskSpec *disk, const char *target, GError **err);

typedef struct DiskXml { /* each may be NULL, but text */
    char *target;
    char *serial;
    char *alias; /* of a disk that a running guest has */
    char *text;  /* the element */
} DiskXml;
/* The disks of a domain's XML. Elements DiskXml. */
GPtrArray *disk_xml_read(const char *text, GError **err);
/* The first that has the serial or the target, either may be NULL; disks may be NULL. */
const DiskXml *disk_xml_find(const GPtrArray *disks, const char *serial, const char *target);
/* The next name that none of both lists has; either may be NULL. */
char *disk_xml_target_free(const GPtrArray *live, const GPtrArray *defined);

/* ---- CPUs ------------------------------------------------------------------------------- */
typedef struct CpuXml {
    char *mode;           /* NULL: none given */
    char *model;          /* NULL: none */
    char *vendor;         /* NULL: none */
    GHashTable *features; /* name → policy, "require" where none is given */
} CpuXml;
void cpu_xml_free(CpuXml *cpu);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CpuXml, cpu_xml_free)
CpuXml *cpu_xml_read(const char *text, GError **err);

/* <cpu> of a mode ("custom", "host-model", "host-passthrough"); model for custom only. flags:
 * NULL-ended "name", "+name",
 * "-name", may be NULL. ERR_INVALID for a name that is none. */
char *cpu_xml_build(const char *mode, const char *model, const char *const *flags, GError **err);
/* cpu with flags on top. */
char *cpu_xml_with_flags(const char *cpu, const char *const *flags, GError **err);
bool cpu_name_is_valid(
    const char *name); /* of a model or a feature: letters, digits, . _ - ; at most 64 */

/* ---- what a node says about itself ------------------------------------------------------ */
typedef struct CapsXml {
    char *host_uuid;
    char *cpu_info; /* JSON object: arch, model, vendor, topology, features */
} CapsXml;
void caps_xml_free(CapsXml *caps);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CapsXml, caps_xml_free)
CapsXml *caps_xml_read(const char *text, GError **err);

typedef struct DomainCapsXml {
    char *hypervisor_cpu; /* <cpu mode='custom'>: what host-model would be; NULL: this hypervisor
                             has no host-model */
    char *cpu_models;     /* JSON array of the models it says are usable */
} DomainCapsXml;
void domain_caps_xml_free(DomainCapsXml *caps);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainCapsXml, domain_caps_xml_free)
DomainCapsXml *domain_caps_xml_read(const char *text, GError **err);

/* ---- storage pools ---------------------------------------------------------------------- */
char *pool_xml_build(const char *name, const char *directory);
char *volume_xml_build(const char *name, uint64_t size); /* raw */
