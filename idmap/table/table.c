// SPDX-License-Identifier: MIT
/*
 * Four fields -> a row, and back. Both carriers, idmap= on the kernel command line (here) and a
 * file like fstab(5) (conf.c), are cut into the same fields and read by the same code. Every error
 * is put on the table's list with its place, and reading goes on. Pure.
 */
#include <string.h>

#include "table/verity.h"

/* --- sources, targets, types ----------------------------------------------------------------- */

static bool is_type_letter(char c)
{
	return idmap_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c == '-' || c == '.';
}

/* As in fstab(5), the option decides. */
static const char *clone_type(const struct idmap_row *row)
{
	return row->flags & IDMAP_RBIND ? "rbind" : "bind";
}

/* Extents, such as u:100000:0:65536, could be names of types by their letters. */
static bool is_extent(const char *type)
{
	if ((*type == 'u' || *type == 'g' || *type == 'b') && type[1] == ':')
		type += 2;
	return strchr(type, ':') && !type[strspn(type, "0123456789:")];
}

/* Checks a type or list, in place; commas become colons. */
static const char *read_type(struct idmap_table *table, struct idmap_row *row, uint32_t column,
			     char *type)
{
	static const char *const alone[] = {"auto",  "bind",  "rbind", "overlay",
					    "tmpfs", "ramfs", "none"};
	bool letters = false;
	size_t i;
	char *p;

	for (p = type;; p++) {
		if (is_type_letter(*p)) {
			letters = true;
			continue;
		}
		if ((*p && *p != ',' && *p != ':') || !letters) {
			idmap_table_error(
				table, &row->place, column,
				"'%s' is no type; write a filesystem's name, or names with : between",
				type);
			return NULL;
		}
		letters = false;
		if (!*p)
			break;
	}
	for (p = type; *p; p++)
		if (*p == ',')
			*p = ':';
	if (is_extent(type)) {
		idmap_table_error(
			table, &row->place, column,
			"TYPE is missing, '%s' is an extent; write it behind TYPE, with the"
			" OPTIONS",
			type);
		return NULL;
	}
	for (i = 0; strchr(type, ':') && i < COUNT_OF(alone); i++) {
		if (idmap_type_has(type, alone[i])) {
			idmap_table_error(table, &row->place, column,
					  "the type %s stands alone; take it out of the list '%s'",
					  alone[i], type);
			return NULL;
		}
	}
	if (row->flags & IDMAP_CLONE)
		return clone_type(row);
	if (!strcmp(type, "none")) {
		idmap_table_error(
			table, &row->place, column,
			"the type none needs the option bind or rbind; write the type itself");
		return NULL;
	}
	return type;
}

bool idmap_is_fstabs(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
		     const char *target, const char *type)
{
	static const char own[][2][9] = {
		{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/dev", "tmpfs"}};
	size_t i;

	if (!strcmp(type, "swap") && !(target && !strcmp(target, "/"))) {
		idmap_table_error(
			table, place, column,
			"swap is no tree to put into place, and this file is not the whole"
			" fstab; leave that row to the real init");
		return true;
	}
	for (i = 0; target && i < COUNT_OF(own); i++) {
		if (strcmp(target, own[i][0]) || strcmp(type, own[i][1]))
			continue;
		idmap_table_error(table, place, column,
				  "%s is there without a row, and comes along into the new root;"
				  " take the row out",
				  target);
		return true;
	}
	return false;
}

static struct idmap_row *add_row(struct idmap_table *table, const struct idmap_place *place)
{
	struct idmap_row *row = idmap_alloc(table->arena, sizeof(*row));

	if (!row) {
		idmap_table_full(table, place, 0);
		return NULL;
	}
	row->place = *place;
	row->root_data = row->data = "";
	row->wait_s = IDMAP_WAIT_S;
	row->mkdir_mode = 0755;
	*table->tail = row;
	table->tail = &row->next;
	table->row_count++;
	return row;
}

struct idmap_row *idmap_table_add_root(struct idmap_table *table, const struct idmap_place *place)
{
	struct idmap_row *row = add_row(table, place);

	if (!row)
		return NULL;
	row->source = "/dev/root";
	row->target = "/";
	row->type = "auto";
	return row;
}

/* What the type says that the rest of the program asks for. */
static void apply_type(struct idmap_row *row)
{
	if (!strcmp(row->type, "bind"))
		row->flags |= IDMAP_BIND;
	else if (!strcmp(row->type, "rbind"))
		row->flags |= IDMAP_RBIND;
	else if (!strcmp(row->type, "overlay"))
		row->flags |= IDMAP_OVERLAY;
}

/* root:/PATH, an image file inside the new root. */
static void read_image(struct idmap_table *table, struct idmap_row *row,
		       const struct idmap_piece *source)
{
	char *path = idmap_decode_kept(table, &row->place, source);

	if (path)
		row->inside = idmap_normal_path(table, &row->place, source, path + 5, "SOURCE");
	row->flags |= IDMAP_IMAGE;
}

void idmap_read_row(struct idmap_table *table, const struct idmap_place *place,
		    const struct idmap_piece field[FIELDS])
{
	struct idmap_row *row = add_row(table, place);
	char *source, *target, *type;

	if (!row)
		return;
	row->source_column = field[FIELD_SOURCE].column;
	row->target_column = field[FIELD_TARGET].column;
	row->type_column = field[FIELD_TYPE].column;
	source = idmap_decode_kept(table, place, &field[FIELD_SOURCE]);
	target = idmap_decode_kept(table, place, &field[FIELD_TARGET]);
	type = idmap_decode_kept(table, place, &field[FIELD_TYPE]);
	if (type && idmap_is_fstabs(table, place, row->type_column, target, type)) {
		table->unread = true;
		return;
	}
	/* One field is missing, and those behind it say nothing by what they are taken for. */
	if (target && *target != '/' && !field[FIELD_OPTIONS].length) {
		idmap_table_error(table, place, row->target_column,
				  "TARGET '%s' is no absolute path; begin it with /, or write the"
				  " field that is missing: SOURCE TARGET TYPE [OPTIONS]",
				  target);
		table->unread = true;
		return;
	}
	idmap_read_options(table, row, &field[FIELD_OPTIONS], false);
	row->source = source;
	table->unread |= !target;
	if (target)
		row->target =
			idmap_normal_path(table, place, &field[FIELD_TARGET], target, "TARGET");
	/* However it was written. */
	if (type && row->target &&
	    idmap_is_fstabs(table, place, row->type_column, row->target, type)) {
		table->unread = true;
		return;
	}
	if (type)
		row->type = read_type(table, row, row->type_column, type);
	if (!source || !row->type)
		return;
	apply_type(row);
	if (!*source)
		idmap_table_error(table, place, row->source_column,
				  "SOURCE is empty; write a device, a tag or a path");
	else if (row->flags & IDMAP_CLONE)
		row->source = row->inside =
			idmap_normal_path(table, place, &field[FIELD_SOURCE], source, "SOURCE");
	else if (!strncmp(source, "root:", 5) && !idmap_has_no_device(row->type))
		read_image(table, row, &field[FIELD_SOURCE]);
	else if (strlen(source) > IDMAP_OPTION_MAX)
		idmap_table_error(
			table, place, row->source_column,
			"SOURCE is longer than the 255 bytes that the kernel takes; make a shorter"
			" link to it");
}

/* --- the carriers ---------------------------------------------------------------------------- */

void idmap_table_init(struct idmap_table *table, struct idmap_arena *arena)
{
	*table = (struct idmap_table){.arena = arena};
	table->tail = &table->first;
	table->maps_tail = &table->maps;
	table->errors_tail = &table->errors;
}

/* true: the value was a row, or an error in one. */
static bool read_value_row(struct idmap_table *table, const struct idmap_place *place,
			   const char *value)
{
	struct idmap_piece field[FIELDS];
	const char *p = value;
	uint32_t i;

	for (i = 0; i < FIELDS; i++) {
		const char *comma = i < FIELD_OPTIONS ? strchr(p, ',') : NULL;

		field[i] = (struct idmap_piece){.at = p, .column = (uint32_t)(p - value) + 1};
		field[i].length = comma ? (size_t)(comma - p) : strlen(p);
		p += field[i].length + (comma != NULL);
	}
	if (*field[FIELD_TARGET].at != '/')
		return false;
	if (field[FIELD_TYPE].length) {
		idmap_read_row(table, place, field);
		return true;
	}
	table->unread = true;
	idmap_table_error(table, place, field[FIELD_TYPE].column,
			  "TYPE is missing; write SOURCE,TARGET,TYPE[,OPTIONS]");
	return true;
}

void idmap_table_word(struct idmap_table *table, const char *value, uint32_t number)
{
	struct idmap_place place = {.name = "idmap=", .line = number, .parameter = true};
	struct idmap_piece options = {.at = value, .column = 1};
	struct idmap_row *row;

	if (!value || !*value) {
		table->unread = true;
		idmap_table_error(table, &place, 0,
				  "it is empty; write extents DISK:SEEN:COUNT, a row, or off");
		return;
	}
	if (!strcmp(value, "off")) {
		table->off = true;
		return;
	}
	if (read_value_row(table, &place, value))
		return;
	/* The short form: options of the root that root= names. */
	row = idmap_table_add_root(table, &place);
	if (!row)
		return;
	row->source_column = row->target_column = row->type_column = 1;
	options.length = strlen(value);
	idmap_read_options(table, row, &options, false);
	if (row->flags & IDMAP_CLONE) {
		row->type = clone_type(row);
		row->inside = row->source;
	}
}

void idmap_table_rootflags(struct idmap_table *table, struct idmap_row *row, const char *flags)
{
	struct idmap_piece piece = {.at = flags, .length = strlen(flags), .column = 1};
	struct idmap_row *said = table->rootflags;

	if (!said) { /* read once, whatever the number of rows */
		said = table->rootflags = idmap_alloc(table->arena, sizeof(*said));
		if (!said) {
			idmap_table_full(table, &row->place, 0);
			return;
		}
		said->place = (struct idmap_place){.name = "rootflags=", .parameter = true};
		said->data = "";
		idmap_read_options(table, said, &piece, true);
	}
	row->attr |= said->attr & ~row->attr_said;
	row->attr_said |= said->attr_said;
	row->root_data = said->data;
}

void idmap_table_rootfstype(struct idmap_table *table, struct idmap_row *row, const char *types)
{
	struct idmap_row said = {.place = {.name = "rootfstype=", .parameter = true}};

	if (!table->rootfstype) {
		char *copy = idmap_copy(table->arena, types, strlen(types));

		if (!copy) {
			idmap_table_full(table, &said.place, 0);
			return;
		}
		table->rootfstype = read_type(table, &said, 1, copy);
		if (table->rootfstype && idmap_type_has("bind:rbind", table->rootfstype)) {
			idmap_table_error(table, &said.place, 1,
					  "%s is for a row, and no filesystem; name that of the"
					  " root",
					  table->rootfstype);
			table->rootfstype = NULL;
		}
		if (!table->rootfstype) /* told, and once is enough */
			table->rootfstype = "";
	}
	if (!*table->rootfstype)
		return;
	row->type = table->rootfstype;
	apply_type(row);
}

/* --- and back -------------------------------------------------------------------------------- */

static void add_items(const char *item, struct idmap_text *text)
{
	for (; *item; item += strlen(item) + 1) {
		idmap_text_add(text, ",");
		idmap_text_field(text, item, ',');
	}
}

void idmap_row_options_text(const struct idmap_row *row, struct idmap_text *text)
{
	/* What the defaults of another row would take back is said, and what this one takes back of
	 * what stands. */
	const uint32_t back = row->flags & IDMAP_OWN_ROOT ? UINT32_MAX
			      : row->flags & IDMAP_CLONE  ? IDMAP_ATIME_MASK | IDMAP_NODIRATIME
							  : 0;
	const uint32_t all =
		IDMAP_RDONLY | (back & row->attr_said) |
		(idmap_row_is_root(row) || row->flags & IDMAP_LAYER ? 0
								    : IDMAP_NOSUID | IDMAP_NODEV);

	idmap_attr_text(row->attr, all, text);
	if (row->flags & IDMAP_NOFAIL)
		idmap_text_add(text, ",nofail");
	/* For ever, as rootwait has it, is the longest that a row can say. */
	if (row->flags & IDMAP_WAIT || row->wait_s != IDMAP_WAIT_S)
		idmap_text_add(text, ",wait=%u",
			       row->wait_s < IDMAP_WAIT_MOST_S ? row->wait_s : IDMAP_WAIT_MOST_S);
	if (row->flags & IDMAP_LOWER)
		idmap_text_add(text, row->flags & IDMAP_DATA_ONLY ? ",lower,data-only" : ",lower");
	if (row->flags & IDMAP_UPPER)
		idmap_text_add(text, ",upper");
	if (row->flags & IDMAP_MKDIR)
		idmap_text_add(text, ",X-mount.mkdir=0%o", row->mkdir_mode);
	if (row->subdir) {
		idmap_text_add(text, ",X-mount.subdir=");
		idmap_text_field(text, row->subdir, ',');
	}
	idmap_verity_text(row->verity, text);
	add_items(row->root_data, text);
	add_items(row->data, text);
	if (row->map) {
		idmap_text_add(text, ",");
		idmap_map_options(row->map, text);
	}
}

void idmap_row_text(const struct idmap_row *row, struct idmap_text *text)
{
	/* At the start of a line these would begin a comment, or a byte order mark. */
	bool odd = *row->source == '#' || *row->source == '\xef';

	if (odd)
		idmap_text_add(text, *row->source == '#' ? "\\043" : "\\357");
	idmap_text_field(text, row->source + odd, 0);
	idmap_text_add(text, " ");
	idmap_text_field(text, row->target, 0);
	idmap_text_add(text, " %s ", row->type);
	idmap_row_options_text(row, text);
}
