// SPDX-License-Identifier: MIT
/*
 * Whole kernel command lines. They are cut as kernel_rules.h says, never read outside, and what
 * comes of them is a plan that holds or an error. Run it with -max_len=2048 and fuzz_cmdline.dict.
 */
#include "check.h"
#include "device/device.h"
#include "kernel_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* /proc/cmdline adds a newline to the line that the kernel has cut, which is `bare`. */
static void check_words(const char *line, const char *bare)
{
	const char *end = line + strlen(line), *ours = line, *theirs = bare;
	struct idmap_parameter p;
	struct rules_word word;

	while (idmap_cmdline_next(&ours, &p)) {
		CHECK(p.name >= line && p.name + p.name_length <= end, "a name outside of %s",
		      line);
		CHECK(!p.value || (p.value >= p.name && p.value + p.value_length <= end),
		      "a value outside of %s", line);
		CHECK(rules_next(&theirs, &word), "a word too many: %.*s", (int)p.name_length,
		      p.name);
		CHECK(strlen(word.name) == p.name_length &&
			      !memcmp(word.name, p.name, p.name_length),
		      "name %s", word.name);
		CHECK(!word.value == !p.value, "name %s", word.name);
		CHECK(!p.value || (strlen(word.value) == p.value_length &&
				   !memcmp(word.value, p.value, p.value_length)),
		      "value %s", word.value);
		rules_free(&word);
	}
	CHECK(!rules_next(&theirs, &word), "a word too few: %s", word.name);
}

static void check_module(const char *line, const char *bare, const char *module)
{
	struct idmap_text text;
	/* Each of its bytes at most once, and a `=`, two quotes and a blank a word. */
	size_t size = strlen(line) * 4 + 1;
	char *options = malloc(size);

	CHECK(options, "no memory for the test");
	idmap_text_init(&text, options, size);
	idmap_cmdline_module_options(line, module, strlen(module), &text);
	CHECK(!text.cut, "more options than line: %s", options);
	CHECK(rules_same_options(bare, module, options), "options of %s: %s", module, options);
	free(options);
}

/*
 * Whether a file can say what the kernel's parameters say: nofail in rootflags= is no word of ours,
 * /dev/root means root= there, and a long root= is refused by the kernel only.
 */
static bool prints_as_file(const struct idmap_root *root)
{
	return !root->flags && (!root->source || (strcmp(root->source, "/dev/root") &&
						  strlen(root->source) <= IDMAP_OPTION_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	char notes_memory[4 * sizeof(struct idmap_note)];
	struct idmap_arena notes_arena = {notes_memory, notes_memory + sizeof(notes_memory)};
	struct idmap_notes notes;
	struct idmap_cmdline cmdline = {.notes = &notes};
	char *line = malloc(size + 1), *bare, *memory, *text;

	CHECK(line, "no memory for the test");
	if (size)
		memcpy(line, data, size);
	line[size] = 0;
	bare = strdup(line);
	CHECK(bare, "no memory for the test");
	if (*bare && bare[strlen(bare) - 1] == '\n')
		bare[strlen(bare) - 1] = 0;
	check_words(line, bare);
	check_module(line, bare, "loop");
	check_module(line, bare, "virtio_blk");
	free(bare);

	memory = check_arena(&arena, idmap_arena_size(size));
	idmap_table_init(&table, &arena);
	cmdline.text = line;
	idmap_notes_init(&notes, &notes_arena);
	idmap_cmdline_read(&cmdline, &table);
	if (!table.off && !idmap_plan_make(&table, &cmdline.root, &plan)) {
		check_plan(&table, &plan);
		text = check_plan_text(&plan);
		if (prints_as_file(&cmdline.root))
			check_round_trip(text, false);
		free(text);
	}
	check_errors(&table);
	check_memory(&table);
	free(memory);
	free(line);
	return 0;
}
