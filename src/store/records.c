/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* records.c: records in and out of tables
 *
 * All SQL is generated from a RecordType's field list: names of tables and columns are ours,
 * checked and quoted; every value is bound. Reading is strict: a name that no enum value has is an
 * error that names the row, since guessing a state is how guests get lost. */
#include "store/store-priv.h"

#include <string.h>

#define CONDS_MAX 16

/* ---- one field ------------------------------------------------------------------------------- */
static const void *
field_at(const Field *field, const void *record)
{
    return (const char *)record + field->offset;
}

static const char *
enum_name(const Field *field, int64_t value)
{
    for (int64_t i = 0; field->names[i] != NULL; i++) {
        if (i == value)
            return field->names[i];
    }
    return NULL;
}

static bool
enum_value(const Field *field, const char *name, unsigned *value)
{
    for (unsigned i = 0; field->names[i] != NULL; i++) {
        if (strcmp(field->names[i], name) == 0) {
            *value = i;
            return true;
        }
    }
    return false;
}

/* The value as people read it, for messages */
static char *
field_text(const Field *field, const void *record)
{
    const void *at = field_at(field, record);
    switch (field->type) {
    case FIELD_TEXT:
        return g_strdup(*(char *const *)at);
    case FIELD_INT:
        return g_strdup_printf("%" PRId64, *(const int64_t *)at);
    case FIELD_BOOL:
        return g_strdup(*(const bool *)at ? "true" : "false");
    case FIELD_ENUM:
        return g_strdup(enum_name(field, *(const unsigned *)at));
    }
    return NULL;
}

static bool
field_bind(sqlite3_stmt *statement, int index, const RecordType *type, const Field *field,
           const void *record, GError **err)
{
    const void *at = field_at(field, record);
    switch (field->type) {
    case FIELD_TEXT:
        /* NULL is bound as NULL. The record outlives the statement's execution, so nothing is
         * copied. */
        sqlite3_bind_text(statement, index, *(char *const *)at, -1, SQLITE_STATIC);
        return true;
    case FIELD_INT:
        sqlite3_bind_int64(statement, index, *(const int64_t *)at);
        return true;
    case FIELD_BOOL:
        sqlite3_bind_int(statement, index, *(const bool *)at ? 1 : 0);
        return true;
    case FIELD_ENUM: {
        unsigned value = *(const unsigned *)at;
        const char *name = enum_name(field, value);
        if (name == NULL)
            return err_set(err, ERR_BUG, "%s.%s: no name for the value %u", type->table,
                           field->name, value);
        sqlite3_bind_text(statement, index, name, -1, SQLITE_STATIC);
        return true;
    }
    }
    return err_set(err, ERR_BUG, "%s.%s: unknown field type", type->table, field->name);
}

static bool
field_read(Conn *conn, sqlite3_stmt *statement, int column, const RecordType *type,
           const Field *field, void *record, GError **err)
{
    void *at = (char *)record + field->offset;
    const char *text;
    switch (field->type) {
    case FIELD_TEXT:
        *(char **)at = g_strdup((const char *)sqlite3_column_text(statement, column));
        return true;
    case FIELD_INT:
        *(int64_t *)at = sqlite3_column_int64(statement, column);
        return true;
    case FIELD_BOOL:
        *(bool *)at = sqlite3_column_int(statement, column) != 0;
        return true;
    case FIELD_ENUM:
        text = (const char *)sqlite3_column_text(statement, column);
        if (text != NULL && enum_value(field, text, at))
            return true;
        /* The key is the first column. */
        return err_set(err, ERR_BACKEND,
                       "%s: table %s, column %s, row %s holds the unknown value \"%s\". It was "
                       "written by a newer godwitd, or "
                       "by hand; correct it with sqlite3 while godwitd is stopped",
                       conn->path, type->table, field->name,
                       (const char *)sqlite3_column_text(statement, 0),
                       text != NULL ? text : "NULL");
    }
    return err_set(err, ERR_BUG, "%s.%s: unknown field type", type->table, field->name);
}

static void *
row_read(Conn *conn, sqlite3_stmt *statement, const RecordType *type, GError **err)
{
    void *record = record_new(type);
    for (size_t i = 0; i < type->n_fields; i++) {
        if (!field_read(conn, statement, (int)i, type, &type->fields[i], record, err)) {
            record_free(type, record);
            return NULL;
        }
    }
    return record;
}

/* ---- statements ------------------------------------------------------------------------------ */
static GString *
sql_select(const RecordType *type)
{
    GString *sql = g_string_sized_new(512);
    for (size_t i = 0; i < type->n_fields; i++)
        g_string_append_printf(sql, "%s\"%s\"", i == 0 ? "SELECT " : ",", type->fields[i].name);
    g_string_append_printf(sql, " FROM \"%s\"", type->table);
    return sql;
}

static bool
cond_append(GString *sql, const RecordType *type, const StoreCond *cond, size_t index, GError **err)
{
    static const char *const operators[] = {
        [STORE_EQ] = "=",
        [STORE_NE] = "IS NOT",
        [STORE_LT] = "<",
        [STORE_LE] = "<=",
        [STORE_GT] = ">",
        [STORE_GE] = ">=",
        [STORE_IS_NULL] = "IS NULL",
        [STORE_NOT_NULL] = "IS NOT NULL",
        [STORE_LIKE] = "LIKE",
    };
    const Field *field = record_field(type, cond->column);
    if (field == NULL)
        return err_set(err, ERR_BUG, "%s has no field \"%s\" to ask for", type->table,
                       cond->column);
    if (index >= CONDS_MAX)
        return err_set(err, ERR_BUG, "more than %d conditions on %s", CONDS_MAX, type->table);
    g_string_append_printf(sql, "%s\"%s\" %s", index == 0 ? " WHERE " : " AND ", field->name,
                           operators[cond->op]);
    if (cond->op == STORE_IS_NULL || cond->op == STORE_NOT_NULL)
        return true;
    bool takes_text =
        field->type == FIELD_TEXT || (field->type == FIELD_ENUM && cond->text != NULL);
    if (takes_text != (cond->text != NULL))
        return err_set(err, ERR_BUG, "the condition on %s.%s needs a %s", type->table, field->name,
                       takes_text ? "text" : "number");
    if (field->type == FIELD_ENUM && cond->op != STORE_EQ && cond->op != STORE_NE)
        return err_set(err, ERR_BUG, "%s.%s is stored by name and has no order", type->table,
                       field->name);
    if (field->type != FIELD_TEXT && cond->op == STORE_LIKE)
        return err_set(err, ERR_BUG, "%s.%s is no text", type->table, field->name);
    g_string_append(sql, cond->op == STORE_LIKE ? " ? ESCAPE '\\'" : " ?");
    return true;
}

static bool
where_append(GString *sql, const RecordType *type, const StoreCond *where, GError **err)
{
    for (size_t i = 0; where != NULL && where[i].column != NULL; i++) {
        if (!cond_append(sql, type, &where[i], i, err))
            return false;
    }
    return true;
}

/* After where_append has checked them. Moves *index behind what was bound. */
static bool
where_bind(sqlite3_stmt *statement, int *index, const RecordType *type, const StoreCond *where,
           GError **err)
{
    for (size_t i = 0; where != NULL && where[i].column != NULL; i++) {
        const StoreCond *cond = &where[i];
        if (cond->op == STORE_IS_NULL || cond->op == STORE_NOT_NULL)
            continue;
        const Field *field = record_field(type, cond->column);
        const char *text = cond->text;
        if (field->type == FIELD_ENUM && text == NULL) {
            text = enum_name(field, cond->num);
            if (text == NULL)
                return err_set(err, ERR_BUG, "%s.%s: no name for the value %" PRId64, type->table,
                               field->name, cond->num);
        }
        if (text != NULL)
            sqlite3_bind_text(statement, (*index)++, text, -1, SQLITE_STATIC);
        else
            sqlite3_bind_int64(statement, (*index)++, cond->num);
    }
    return true;
}

static bool
tx_check(const StoreTx *tx, bool to_write, const RecordType *type, GError **err)
{
    if (!store_inside_transaction())
        return err_set(err, ERR_BUG, "a transaction on %s is used after its end", type->table);
    if (to_write && !tx->writable)
        return err_set(err, ERR_BUG, "%s is written inside store_read", type->table);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */
static void *
get_bound(StoreTx *tx, const RecordType *type, sqlite3_stmt *statement, const char *shown,
          GError **err)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return row_read(tx->conn, statement, type, err);
    if (rc == SQLITE_DONE)
        err_set(err, ERR_NOT_FOUND, "%s %s not found", type->table, shown);
    else
        conn_error(tx->conn, type->table, err);
    return NULL;
}

static sqlite3_stmt *
get_prepare(StoreTx *tx, const RecordType *type, GError **err)
{
    if (!tx_check(tx, false, type, err))
        return NULL;
    g_autoptr(GString) sql = sql_select(type);
    g_string_append_printf(sql, " WHERE \"%s\" = ?", type->fields[0].name);
    return conn_prepare(tx->conn, sql->str, err);
}

void *
store_get(StoreTx *tx, const RecordType *type, const char *id, GError **err)
{
    AUTO_STATEMENT statement = get_prepare(tx, type, err);
    if (statement == NULL)
        return NULL;
    sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
    return get_bound(tx, type, statement, id != NULL ? id : "(none)", err);
}

void *
store_get_int(StoreTx *tx, const RecordType *type, int64_t id, GError **err)
{
    AUTO_STATEMENT statement = get_prepare(tx, type, err);
    if (statement == NULL)
        return NULL;
    sqlite3_bind_int64(statement, 1, id);
    g_autofree char *shown = g_strdup_printf("%" PRId64, id);
    return get_bound(tx, type, statement, shown, err);
}

/* "with name x and user_id y", for a message */
static char *
where_describe(const RecordType *type, const StoreCond *where)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; where != NULL && where[i].column != NULL; i++) {
        const Field *field = record_field(type, where[i].column);
        const char *name = field->type == FIELD_ENUM ? enum_name(field, where[i].num) : NULL;
        g_string_append_printf(text, "%s %s ", i == 0 ? " with" : " and", where[i].column);
        if (where[i].op == STORE_IS_NULL || where[i].op == STORE_NOT_NULL)
            g_string_append(text, where[i].op == STORE_IS_NULL ? "unset" : "set");
        else if (where[i].text != NULL || name != NULL)
            g_string_append(text, where[i].text != NULL ? where[i].text : name);
        else
            g_string_append_printf(text, "%" PRId64, where[i].num);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

void *
store_find(StoreTx *tx, const RecordType *type, const StoreCond *where, GError **err)
{
    StoreQuery query = {.where = where, .limit = 2};
    g_autoptr(GPtrArray) found = store_list(tx, type, &query, err);
    if (found == NULL)
        return NULL;
    if (found->len == 1) {
        g_ptr_array_set_free_func(found, NULL);
        return g_ptr_array_index(found, 0);
    }
    g_autofree char *wanted = where_describe(type, where);
    if (found->len == 0)
        err_set(err, ERR_NOT_FOUND, "no %s%s", type->table, wanted);
    else
        err_set(err, ERR_CONFLICT, "more than one %s%s: use the id", type->table, wanted);
    return NULL;
}

/* GPtrArray wants a free function without an argument for the type: one per record type. */
#define RECORD_TYPES(X) \
    X(PROJECT)          \
    X(USER)             \
    X(ROLE)             \
    X(ASSIGNMENT)       \
    X(TOKEN)            \
    X(HOST)             \
    X(FLAVOR)           \
    X(IMAGE)            \
    X(KEYPAIR)          \
    X(NETWORK)          \
    X(SUBNET)           \
    X(PORT)             \
    X(SERVER)           \
    X(MIGRATION)        \
    X(TASK)             \
    X(ACTION)           \
    X(ACTION_EVENT)     \
    X(VOLUME)           \
    X(SNAPSHOT)         \
    X(VOLUME_TYPE)      \
    X(ATTACHMENT)       \
    X(QUOTA)            \
    X(DISK_CLIENT)      \
    X(FENCE)

#define DEFINE_FREE(TYPE)                 \
    static void free_##TYPE(void *record) \
    {                                     \
        record_free(&TYPE, record);       \
    }
RECORD_TYPES(DEFINE_FREE)

static GDestroyNotify
record_free_function(const RecordType *type)
{
#define MATCH_FREE(TYPE) \
    if (type == &TYPE)   \
        return free_##TYPE;
    RECORD_TYPES(MATCH_FREE)
    g_error("no free function for records of table %s", type->table);
}

GPtrArray *
store_list(StoreTx *tx, const RecordType *type, const StoreQuery *query, GError **err)
{
    static const StoreQuery everything = {0};
    if (query == NULL)
        query = &everything;
    if (!tx_check(tx, false, type, err))
        return NULL;
    const char *key = type->fields[0].name;
    const char *order = query->order_by != NULL ? query->order_by : key;
    if (record_field(type, order) == NULL) {
        err_set(err, ERR_BUG, "%s has no field \"%s\" to order by", type->table, order);
        return NULL;
    }
    const char *direction = query->descending ? "DESC" : "ASC";
    g_autoptr(GString) sql = sql_select(type);
    if (!where_append(sql, type, query->where, err))
        return NULL;
    /* The key makes the order total: a list read in pages neither repeats nor loses a row. */
    g_string_append_printf(sql, " ORDER BY \"%s\" %s", order, direction);
    if (strcmp(order, key) != 0)
        g_string_append_printf(sql, ", \"%s\" %s", key, direction);
    g_string_append(sql, " LIMIT ? OFFSET ?");

    AUTO_STATEMENT statement = conn_prepare(tx->conn, sql->str, err);
    int index = 1;
    if (statement == NULL || !where_bind(statement, &index, type, query->where, err))
        return NULL;
    sqlite3_bind_int64(statement, index, query->limit > 0 ? query->limit : -1);
    sqlite3_bind_int64(statement, index + 1, MAX(query->offset, 0));

    g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func(record_free_function(type));
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        void *record = row_read(tx->conn, statement, type, err);
        if (record == NULL)
            return NULL;
        g_ptr_array_add(records, record);
    }
    if (rc != SQLITE_DONE) {
        conn_error(tx->conn, type->table, err);
        return NULL;
    }
    return g_steal_pointer(&records);
}

int64_t
store_count(StoreTx *tx, const RecordType *type, const StoreCond *where, GError **err)
{
    g_autoptr(GString) sql = g_string_new(NULL);
    g_string_append_printf(sql, "SELECT count(*) FROM \"%s\"", type->table);
    if (!tx_check(tx, false, type, err) || !where_append(sql, type, where, err))
        return -1;
    AUTO_STATEMENT statement = conn_prepare(tx->conn, sql->str, err);
    int index = 1;
    if (statement == NULL || !where_bind(statement, &index, type, where, err))
        return -1;
    if (sqlite3_step(statement) != SQLITE_ROW) {
        conn_error(tx->conn, type->table, err);
        return -1;
    }
    return sqlite3_column_int64(statement, 0);
}

/* ---- writing --------------------------------------------------------------------------------- */
/* "UNIQUE constraint failed: keypair.user_id, keypair.name" → a keypair with user_id "…" and name
 * "…" exists already */
static bool
duplicate_error(Conn *conn, const RecordType *type, const void *record, GError **err)
{
    const char *columns = strchr(sqlite3_errmsg(conn->db), ':');
    g_auto(GStrv) words = g_strsplit_set(columns != NULL ? columns + 1 : "", " ,", -1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; words[i] != NULL; i++) {
        const char *dot = strchr(words[i], '.');
        const Field *field = dot != NULL ? record_field(type, dot + 1) : NULL;
        if (field == NULL)
            continue;
        g_autofree char *value = field_text(field, record);
        g_string_append_printf(text, "%s %s \"%s\"", text->len == 0 ? " with" : " and", field->name,
                               value != NULL ? value : "");
    }
    const char *article = strchr("aeiou", type->table[0]) != NULL ? "an" : "a";
    return err_set(err, ERR_CONFLICT, "%s %s%s exists already", article, type->table, text->str);
}

static bool
write_error(Conn *conn, const char *verb, const RecordType *type, const void *record, GError **err)
{
    int rc = sqlite3_extended_errcode(conn->db);
    if (record != NULL && (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY))
        return duplicate_error(conn, type, record, err);
    g_autofree char *key = record != NULL ? field_text(&type->fields[0], record) : NULL;
    g_autofree char *doing = g_strdup_printf("%s %s%s%s", verb, type->table, key != NULL ? " " : "",
                                             key != NULL ? key : "");
    return conn_error(conn, doing, err);
}

bool
store_insert(StoreTx *tx, const RecordType *type, void *record, GError **err)
{
    if (!tx_check(tx, true, type, err))
        return false;
    g_autoptr(GString) sql = g_string_sized_new(512);
    g_string_append_printf(sql, "INSERT INTO \"%s\" (", type->table);
    for (size_t i = 0; i < type->n_fields; i++)
        g_string_append_printf(sql, "%s\"%s\"", i == 0 ? "" : ",", type->fields[i].name);
    g_string_append(sql, ") VALUES (");
    for (size_t i = 0; i < type->n_fields; i++)
        g_string_append(sql, i == 0 ? "?" : ",?");
    g_string_append_c(sql, ')');

    AUTO_STATEMENT statement = conn_prepare(tx->conn, sql->str, err);
    if (statement == NULL)
        return false;
    for (size_t i = 0; i < type->n_fields; i++) {
        if (!field_bind(statement, (int)i + 1, type, &type->fields[i], record, err))
            return false;
    }
    int64_t *number =
        type->fields[0].type == FIELD_INT ? (int64_t *)field_at(&type->fields[0], record) : NULL;
    bool give_number = number != NULL && *number == 0;
    if (give_number)
        sqlite3_bind_null(statement, 1);
    if (sqlite3_step(statement) != SQLITE_DONE)
        return write_error(tx->conn, "adding", type, record, err);
    if (give_number)
        *number = sqlite3_last_insert_rowid(tx->conn->db);
    return true;
}

bool
store_update(StoreTx *tx, const RecordType *type, const void *record, GError **err)
{
    if (!tx_check(tx, true, type, err))
        return false;
    g_autoptr(GString) sql = g_string_sized_new(512);
    g_string_append_printf(sql, "UPDATE \"%s\" SET ", type->table);
    for (size_t i = 1; i < type->n_fields; i++)
        g_string_append_printf(sql, "%s\"%s\" = ?", i == 1 ? "" : ",", type->fields[i].name);
    g_string_append_printf(sql, " WHERE \"%s\" = ?", type->fields[0].name);

    AUTO_STATEMENT statement = conn_prepare(tx->conn, sql->str, err);
    if (statement == NULL)
        return false;
    for (size_t i = 0; i < type->n_fields; i++) {
        int index = i == 0 ? (int)type->n_fields : (int)i;
        if (!field_bind(statement, index, type, &type->fields[i], record, err))
            return false;
    }
    if (sqlite3_step(statement) != SQLITE_DONE)
        return write_error(tx->conn, "changing", type, record, err);
    if (sqlite3_changes64(tx->conn->db) == 0) {
        g_autofree char *key = field_text(&type->fields[0], record);
        return err_set(err, ERR_NOT_FOUND, "%s %s not found", type->table,
                       key != NULL ? key : "(none)");
    }
    return true;
}

int64_t
store_replace_text(StoreTx *tx, const RecordType *type, const char *column, const char *from,
                   const char *to, GError **err)
{
    const Field *field = record_field(type, column);
    if (!tx_check(tx, true, type, err))
        return -1;
    if (field == NULL || field->type != FIELD_TEXT || field == &type->fields[0]) {
        err_set(err, ERR_BUG, "%s.%s is no text that can be replaced", type->table, column);
        return -1;
    }
    g_autofree char *sql = g_strdup_printf("UPDATE \"%s\" SET \"%s\" = ? WHERE \"%s\" = ?",
                                           type->table, field->name, field->name);
    AUTO_STATEMENT statement = conn_prepare(tx->conn, sql, err);
    if (statement == NULL)
        return -1;
    sqlite3_bind_text(statement, 1, to, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, from, -1, SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_DONE) {
        write_error(tx->conn, "changing", type, NULL, err);
        return -1;
    }
    return sqlite3_changes64(tx->conn->db);
}

static sqlite3_stmt *
delete_prepare(StoreTx *tx, const RecordType *type, GError **err)
{
    if (!tx_check(tx, true, type, err))
        return NULL;
    g_autofree char *sql =
        g_strdup_printf("DELETE FROM \"%s\" WHERE \"%s\" = ?", type->table, type->fields[0].name);
    return conn_prepare(tx->conn, sql, err);
}

static bool
delete_bound(StoreTx *tx, const RecordType *type, sqlite3_stmt *statement, const char *shown,
             GError **err)
{
    if (sqlite3_step(statement) != SQLITE_DONE) {
        g_autofree char *doing = g_strdup_printf("deleting %s %s", type->table, shown);
        return conn_error(tx->conn, doing, err);
    }
    if (sqlite3_changes64(tx->conn->db) == 0)
        return err_set(err, ERR_NOT_FOUND, "%s %s not found", type->table, shown);
    return true;
}

bool
store_delete(StoreTx *tx, const RecordType *type, const char *id, GError **err)
{
    AUTO_STATEMENT statement = delete_prepare(tx, type, err);
    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
    return delete_bound(tx, type, statement, id != NULL ? id : "(none)", err);
}

bool
store_delete_int(StoreTx *tx, const RecordType *type, int64_t id, GError **err)
{
    AUTO_STATEMENT statement = delete_prepare(tx, type, err);
    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, id);
    g_autofree char *shown = g_strdup_printf("%" PRId64, id);
    return delete_bound(tx, type, statement, shown, err);
}

bool
store_delete_where(StoreTx *tx, const RecordType *type, const StoreCond *where, GError **err)
{
    if (!tx_check(tx, true, type, err))
        return false;
    if (where == NULL || where[0].column == NULL)
        return err_set(err, ERR_BUG, "deleting all of %s is not meant to be", type->table);
    g_autoptr(GString) sql = g_string_new(NULL);
    g_string_append_printf(sql, "DELETE FROM \"%s\"", type->table);
    if (!where_append(sql, type, where, err))
        return false;
    AUTO_STATEMENT statement = conn_prepare(tx->conn, sql->str, err);
    int index = 1;
    if (statement == NULL || !where_bind(statement, &index, type, where, err))
        return false;
    if (sqlite3_step(statement) != SQLITE_DONE)
        return write_error(tx->conn, "deleting from", type, NULL, err);
    return true;
}
