/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-priv.h: what was seen of the nodes, and the judgement of it */
#pragma once

#include "prepare/prepare-priv.h"

enum {
    DOCTOR_AT_ONCE = 32, /* ssh connections */
    DOCTOR_PEERS_MAX = 16,
};

typedef struct DoctorNode {
    const char *name;
    const NodeTarget *target;
    const char *address; /* numeric, by which the others reach it; NULL: what it says itself */
    GHashTable *facts; /* "key" → "value", as the node's shell printed them; NULL: not looked at */
    char *drift;       /* lines of node_files_drift */
    char *peers;       /* lines of peers_script; see judge_peers */
    char *peers_error; /* why there are none */
    char *speed;       /* lines "speed PEER yes BYTES MICROSECONDS", "speed PEER no REASON" */
    GError *error;
} DoctorNode;

/* A judgement under way. */
typedef struct Judge {
    const DoctorNode *nodes;
    unsigned n;
    const DoctorOptions *options;
    GPtrArray *checks;
} Judge;

/* Pure: the checks of all nodes. The facts "asked" and "answered" are our clock (µs) before and
 * after the node told its own ("clock"). */
void
doctor_judge(const DoctorNode *nodes, unsigned n, const DoctorOptions *options, GPtrArray *checks);

/* ---- facts (doctor-facts.c) */
extern const char doctor_facts_script[]; /* $1: a peer's name or address, for the way to it */
GHashTable *doctor_facts_parse(const char *answer);
const char *fact(const DoctorNode *node, const char *key); /* "" if it is not there */
int64_t fact_number(const DoctorNode *node, const char *key, int64_t otherwise);
bool fact_is(const DoctorNode *node, const char *key, const char *value);
/* The address by which others reach it, as far as the node itself tells; "" if it told none. */
const char *node_address(const DoctorNode *node);
/* What it calls itself; "" if that is no name. */
const char *node_hostname(const DoctorNode *node);
bool list_has(const char *comma_list, const char *word);
/* The spelling of an address that the C library has for it; NULL if it is none. */
char *address_normal(const char *text);

/* ---- peers (doctor-peers.c) */
/* Whom node asks about: the next ones in a ring, the node itself left out. */
unsigned doctor_peers(unsigned index, unsigned n, unsigned peers[DOCTOR_PEERS_MAX]);
/* In a round, who sends to whom; no node is in two pairs. false: there are no more rounds.
 * to[i]: the receiver, or -1. */
bool doctor_round(unsigned n, unsigned round, int *to);
extern const char doctor_peers_script[], doctor_receive_script[], doctor_send_script[];

/* ---- judging */
void judge_add(Judge *judge, const DoctorNode *node, const char *name, CheckStatus status,
               char *evidence, const char *remedy, const char *command);
void judge_services(Judge *judge, const DoctorNode *node); /* doctor-judge-services.c */
void judge_qemu(Judge *judge, const DoctorNode *node);     /* doctor-judge-qemu.c */
void judge_system(Judge *judge, const DoctorNode *node);   /* doctor-judge-system.c */
void judge_alike(Judge *judge, const DoctorNode *node);    /* doctor-judge-alike.c */
void judge_peers(Judge *judge, const DoctorNode *node);    /* doctor-judge-peers.c */
