// SPDX-License-Identifier: MIT
/*
 * Extents -> a checked map -> the text of uid_map and gid_map. The kernel answers everything that
 * is wrong with a map with the same EINVAL, and wraps ids over 32 bits without a word
 * (kernel/user_namespace.c, map_write()), so all its rules are checked here, where the place is
 * known. Pure.
 */
#include <string.h>

#include "table/table.h"

/* Where an extent has its first id. */
enum side {
	DISK = offsetof(struct idmap_extent, disk),
	SEEN = offsetof(struct idmap_extent, seen)
};

static const char kind_name[][4] = {[IDMAP_UID] = "uid", [IDMAP_GID] = "gid"};

/* One kind of a map while it is checked. */
struct check {
	struct idmap_table *table;
	const struct idmap_place *place;
	enum idmap_kind kind;
	struct idmap_spec *spec;
	uint32_t count;
	bool failed;
};

static uint32_t id_of(const struct idmap_extent *extent, enum side side)
{
	uint32_t id;

	memcpy(&id, (const char *)extent + side, sizeof(id));
	return id;
}

static uint32_t first_id(const struct idmap_spec *spec, enum side side)
{
	return id_of(&spec->extent, side);
}

static uint32_t last_id(const struct idmap_spec *spec, enum side side)
{
	return first_id(spec, side) + spec->extent.count - 1;
}

/* Shell's sort: small, in place, and quick enough on hostile input of any length. */
static void sort(struct idmap_spec *spec, uint32_t count, enum side side)
{
	uint32_t gap = 1, i, j;

	while (gap < count / 3)
		gap = gap * 3 + 1;
	for (; gap; gap /= 3) {
		for (i = gap; i < count; i++) {
			struct idmap_spec one = spec[i];

			for (j = i;
			     j >= gap && first_id(&spec[j - gap], side) > first_id(&one, side);
			     j -= gap)
				spec[j] = spec[j - gap];
			spec[j] = one;
		}
	}
}

static void overlap(struct check *check, const struct idmap_spec *a, const struct idmap_spec *b,
		    enum side side)
{
	bool shared = a->kinds == BOTH_KINDS && b->kinds == BOTH_KINDS;
	uint32_t first = first_id(b, side), last = last_id(a, side);
	const struct idmap_spec *earlier = a, *later = b;
	char ids[40];

	check->failed = true;
	if (shared && check->kind == IDMAP_GID)
		return; /* said once, for both kinds */
	if (last > last_id(b, side))
		last = last_id(b, side);
	if (a->column > b->column) {
		earlier = b;
		later = a;
	}
	idmap_print(ids, sizeof(ids), first == last ? "id %u" : "ids %u to %u", first, last);
	idmap_table_error(check->table, check->place, later->column,
			  "extents %u:%u:%u and %u:%u:%u overlap on the %s side for %ss%s (%s);"
			  " let each id stand in one extent only",
			  earlier->extent.disk, earlier->extent.seen, earlier->extent.count,
			  later->extent.disk, later->extent.seen, later->extent.count,
			  side == SEEN ? "seen" : "disk", kind_name[check->kind],
			  shared ? " and gids" : "", ids);
}

static void check_side(struct check *check, enum side side)
{
	struct idmap_spec *spec = check->spec, *reaching = spec;
	uint32_t i;

	sort(spec, check->count, side);
	for (i = 1; i < check->count; i++) {
		if (first_id(&spec[i], side) <= last_id(reaching, side))
			overlap(check, reaching, &spec[i], side);
		if (last_id(&spec[i], side) > last_id(reaching, side))
			reaching = &spec[i];
	}
}

/*
 * Appends an identity extent for every range that no extent claims on either side. The claimed
 * ranges of both sides, sorted together, leave the gaps. check->spec has room for them.
 */
static bool fill_identity(struct check *check)
{
	uint32_t i, claims = 2 * check->count;
	struct idmap_spec *claim =
		idmap_alloc_scratch(check->table->arena, (claims + 1) * sizeof(*claim));
	uint64_t next = 0;

	if (!claim)
		return false;
	for (i = 0; i < claims; i++) {
		claim[i].extent = check->spec[i / 2].extent;
		claim[i].extent.disk = first_id(&claim[i], i % 2 ? SEEN : DISK);
	}
	sort(claim, claims, DISK);
	/* One more claim just past the last id ends the last gap. */
	claim[claims].extent = (struct idmap_extent){.disk = IDMAP_ID_MAX + 1, .count = 1};
	for (i = 0; i <= claims; i++) {
		uint32_t first = claim[i].extent.disk;

		if (first > next)
			check->spec[check->count++].extent =
				(struct idmap_extent){.disk = (uint32_t)next,
						      .seen = (uint32_t)next,
						      .count = (uint32_t)(first - next)};
		if ((uint64_t)first + claim[i].extent.count > next)
			next = (uint64_t)first + claim[i].extent.count;
	}
	sort(check->spec, check->count, DISK);
	return true;
}

/* The extents, which are sorted, into the map; what is adjacent becomes one. */
static bool merge(const struct check *check, struct idmap_map *map)
{
	struct idmap_extent *out =
		idmap_alloc(check->table->arena, check->count * sizeof(struct idmap_extent));
	struct idmap_extent *last = out;
	uint32_t i;

	if (!out)
		return false;
	*last = check->spec->extent;
	for (i = 1; i < check->count; i++) {
		const struct idmap_extent *next = &check->spec[i].extent;

		/* No sum can wrap into equality: ids end one below 32 bits. */
		if (next->disk == last->disk + last->count &&
		    next->seen == last->seen + last->count)
			last->count += next->count;
		else
			*++last = *next;
	}
	map->extent[check->kind] = out;
	map->extents[check->kind] = (uint32_t)(last + 1 - out);
	return true;
}

static uint32_t digits(uint32_t value)
{
	uint32_t n = 1;

	while (value /= 10)
		n++;
	return n;
}

/* `name`: which of the row's maps is meant, with a blank after it. */
static bool check_limits(struct idmap_table *table, const struct idmap_place *place,
			 const struct idmap_map *map, enum idmap_kind kind, const char *name,
			 uint32_t column)
{
	const uint32_t count = map->extents[kind];
	uint32_t i, size = 0;

	for (i = 0; i < count; i++) {
		const struct idmap_extent *e = &map->extent[kind][i];

		size += digits(e->disk) + digits(e->seen) + digits(e->count) + 3;
	}
	if (count > IDMAP_EXTENTS_MAX)
		idmap_table_error(table, place, column,
				  "the %smap has %u extents, %u more than the kernel's limit of %u;"
				  " map wider ranges",
				  name, count, count - IDMAP_EXTENTS_MAX, IDMAP_EXTENTS_MAX);
	else if (size >= IDMAP_MAP_TEXT_SIZE)
		idmap_table_error(
			table, place, column,
			"the %smap is %u bytes as text, %u more than the kernel's limit of"
			" %u; map wider ranges",
			name, size, size - (IDMAP_MAP_TEXT_SIZE - 1), IDMAP_MAP_TEXT_SIZE - 1);
	else
		return true;
	return false;
}

/* false: no memory */
static bool check_kind(struct check *check, struct idmap_map *map, const struct idmap_spec *specs,
		       uint32_t count, bool identity)
{
	uint32_t i;

	/* With room for what identity can add: a gap before, between and after the claims. */
	check->spec = idmap_alloc_scratch(check->table->arena, (3 * count + 1) * sizeof(*specs));
	if (!check->spec)
		return false;
	for (i = 0; i < count; i++)
		if (specs[i].kinds & 1u << check->kind)
			check->spec[check->count++] = specs[i];
	identity |= !check->count;
	check_side(check, SEEN);
	check_side(check, DISK); /* last: merging wants this order */
	if (check->failed)
		return true;
	return (!identity || fill_identity(check)) && merge(check, map);
}

static bool same_extents(const struct idmap_map *a, uint32_t kind_a, const struct idmap_map *b,
			 uint32_t kind_b)
{
	const uint32_t n = a->extents[kind_a];

	return n == b->extents[kind_b] &&
	       !memcmp(a->extent[kind_a], b->extent[kind_b], n * sizeof(struct idmap_extent));
}

/* Both kinds checked, into `map`. false: no memory. *ret_failed: an error is on the list. */
static bool check_map(struct idmap_table *table, const struct idmap_place *place,
		      const struct idmap_spec *specs, uint32_t count, uint32_t identity,
		      struct idmap_map *map, bool *ret_failed)
{
	uint32_t kind;

	*ret_failed = false;
	for (kind = 0; kind < IDMAP_KINDS; kind++) {
		struct check check = {
			.table = table, .place = place, .kind = (enum idmap_kind)kind};

		if (!check_kind(&check, map, specs, count, identity & 1u << kind))
			return false;
		*ret_failed |= check.failed;
	}
	return true;
}

/* The map, or an equal one that was made before; then the memory of this one is given back. */
static struct idmap_map *keep_map(struct idmap_table *table, struct idmap_map *map)
{
	struct idmap_map *other;

	for (other = table->maps; other; other = other->next) {
		if (same_extents(map, IDMAP_UID, other, IDMAP_UID) &&
		    same_extents(map, IDMAP_GID, other, IDMAP_GID)) {
			table->arena->at = (char *)map;
			return other;
		}
	}
	map->userns_fd = -1;
	map->number = ++table->map_count;
	*table->maps_tail = map;
	table->maps_tail = &map->next;
	return map;
}

struct idmap_map *idmap_map_make(struct idmap_table *table, const struct idmap_place *place,
				 struct idmap_spec *specs, uint32_t count, uint32_t identity,
				 uint32_t column)
{
	struct idmap_map *map = idmap_alloc(table->arena, sizeof(*map));
	bool failed, same;

	if (!map || !check_map(table, place, specs, count, identity, map, &failed)) {
		idmap_table_error(table, place, column,
				  "no memory for this map; make the table shorter");
		return NULL;
	}
	if (failed)
		return NULL;
	same = same_extents(map, IDMAP_UID, map, IDMAP_GID);
	failed = !check_limits(table, place, map, IDMAP_UID, same ? "" : "uid ", column);
	if (!same)
		failed |= !check_limits(table, place, map, IDMAP_GID, "gid ", column);
	return failed ? NULL : keep_map(table, map);
}

size_t idmap_map_text(const struct idmap_map *map, enum idmap_kind kind, char *buffer, size_t size)
{
	struct idmap_text text;
	uint32_t i;

	idmap_text_init(&text, buffer, size);
	for (i = 0; i < map->extents[kind]; i++) {
		const struct idmap_extent *e = &map->extent[kind][i];

		idmap_text_add(&text, "%u %u %u\n", e->disk, e->seen, e->count);
	}
	return (size_t)(text.at - buffer);
}

static void add_extents(const struct idmap_map *map, enum idmap_kind kind, struct idmap_text *text)
{
	uint32_t i;

	for (i = 0; i < map->extents[kind]; i++) {
		const struct idmap_extent *e = &map->extent[kind][i];

		idmap_text_add(text, "%s%u:%u:%u", i ? "," : "", e->disk, e->seen, e->count);
	}
}

void idmap_map_options(const struct idmap_map *map, struct idmap_text *text)
{
	const bool same = same_extents(map, IDMAP_UID, map, IDMAP_GID);

	idmap_text_add(text, same ? "idmap=" : "uidmap=");
	add_extents(map, IDMAP_UID, text);
	if (same)
		return;
	idmap_text_add(text, ",gidmap=");
	add_extents(map, IDMAP_GID, text);
}

/* The id that `id` of that side is on the other one; false: the map leaves it out. */
static bool translate(const struct idmap_map *map, enum idmap_kind kind, enum side side,
		      uint32_t id, uint32_t *ret)
{
	uint32_t i;

	for (i = 0; i < map->extents[kind]; i++) {
		const struct idmap_extent *e = &map->extent[kind][i];
		const uint32_t first = id_of(e, side);

		if (id >= first && id - first < e->count) {
			*ret = id_of(e, side == DISK ? SEEN : DISK) + (id - first);
			return true;
		}
	}
	return false;
}

bool idmap_map_seen(const struct idmap_map *map, enum idmap_kind kind, uint32_t disk,
		    uint32_t *ret_seen)
{
	return translate(map, kind, DISK, disk, ret_seen);
}

bool idmap_map_disk(const struct idmap_map *map, enum idmap_kind kind, uint32_t seen,
		    uint32_t *ret_disk)
{
	return translate(map, kind, SEEN, seen, ret_disk);
}
