# SPDX-License-Identifier: MIT
#
# One Makefile for everything, not recursive. `make help` lists what it does. Outputs go to O,
# configuration is Kconfig's (kconfig-frontends), and two builds in two folders give the same bytes.

O ?= build
PREFIX ?= /usr/local
CROSS_COMPILE ?=
ifeq ($(origin CC),default)
CC := $(if $(CROSS_COMPILE),$(CROSS_COMPILE)gcc,musl-gcc)
endif
AR := $(CROSS_COMPILE)ar
STRIP := $(CROSS_COMPILE)strip
HOSTCC ?= gcc
CLANG ?= clang
PYTHON ?= /usr/bin/python3

srctree := $(CURDIR)
Q := $(if $(filter 1,$(V)),,@)
# Silent under V=1, where the commands show, and under make -s.
silent := $(filter 1,$(V))$(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
say = $(if $(silent),@:,@printf '  %-8s %s\n' $(1) $(patsubst $(O)/%,%,$(2)))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all help

# What a fresh machine lacks is installed before anything else looks for it.
asked-for = $(filter $(1),$(MAKECMDGOALS))
needed := $(if $(call asked-for,run deb bench support-table mistakes-table check check-%),build) \
	$(if $(call asked-for,run bench support-table mistakes-table check check-build check-boot check-kernels check-machines check-tools check-systems),run) \
	$(if $(call asked-for,support-table mistakes-table check check-%),check) $(call asked-for,bench) \
	$(if $(call asked-for,deb check check-boot check-kernels),deb) $(if $(call asked-for,check-tools check-systems),tools)
ifneq ($(strip $(needed)),)
ifneq ($(shell ./install-packages $(needed) >&2 || echo missing),)
$(error packages are missing, see the line above)
endif
endif

### Configuration ###############################################################################

config-goals := config menuconfig nconfig oldconfig olddefconfig savedefconfig listnewconfig \
	%_defconfig
no-config-goals := $(config-goals) messages diagram help clean distclean packages list-pure
configured := $(if $(MAKECMDGOALS),$(filter-out $(no-config-goals),$(MAKECMDGOALS)),all)
autoconf := $(O)/include/generated/autoconf.h
kconfigs := Kconfig idmap/Kconfig init/Kconfig
# kconfig-conf writes below its working directory and reads below $srctree.
kconfig = mkdir -p $(O)/include/config $(O)/include/generated && \
	{ command -v $(1) >$(O)/include/.which || \
	{ echo "$(1) is missing; run ./install-packages build" >&2; exit 1; }; } && \
	cd $(O) && srctree=$(srctree) $(1) $(2) $(srctree)/Kconfig

.PHONY: $(filter-out %_defconfig,$(config-goals))
config oldconfig olddefconfig listnewconfig:
	$(Q)$(call kconfig,kconfig-conf,--$(patsubst config,oldaskconfig,$@))
menuconfig:
	$(Q)$(call kconfig,kconfig-mconf,)
nconfig:
	$(Q)$(call kconfig,kconfig-nconf,)
savedefconfig:
	$(Q)$(call kconfig,kconfig-conf,--savedefconfig=defconfig)
%_defconfig: configs/%_defconfig
	$(Q)$(call kconfig,kconfig-conf,--defconfig=$(srctree)/$<) >/dev/null

ifneq ($(configured),)
-include $(O)/include/config/auto.conf
$(O)/.config:
	$(call say,CONFIG,default)
	$(Q)$(call kconfig,kconfig-conf,--defconfig=$(srctree)/configs/default_defconfig) >/dev/null
$(autoconf) $(O)/include/config/auto.conf &: $(O)/.config $(kconfigs)
	$(Q)$(call kconfig,kconfig-conf,--olddefconfig) >/dev/null
	$(Q)$(call kconfig,kconfig-conf,--silentoldconfig) >/dev/null
	$(Q)touch $(autoconf) $(O)/include/config/auto.conf
endif

### Flags #######################################################################################

# A flag, if the compiler knows it.
cc-option = $(shell $(CC) -Werror $(1) -E -x c /dev/null >/dev/null 2>&1 && echo $(1))

warnings := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wconversion -Werror
# The same source in two folders gives the same bytes: no path of the folder gets into them.
cflags := -std=gnu11 -Oz $(warnings) -ffile-prefix-map=$(srctree)/= -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables -I$(O)/include -Iidmap
# Nothing here computes with fractions, so a function with `...` need not save their registers.
cflags += $(if $(configured),$(call cc-option,-mgeneral-regs-only))
# Else the file is padded to a page now and then, to spare a page of memory.
ldflags := -static -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,common-page-size=64
ifeq ($(CONFIG_HARDENING),y)
# Debian's musl-gcc makes of -static-pie a program that asks for a loader, so the start-up that
# relocates is named here.
cflags += -fPIE -fstack-protector-strong
ldflags += -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now -l:rcrt1.o
else
cflags += -fno-pie -fno-stack-protector
ldflags += -no-pie -Wl,-z,norelro
endif
override CFLAGS := $(cflags) $(CFLAGS)
override LDFLAGS := $(ldflags) $(LDFLAGS)

### Programs ####################################################################################

# In this order no file needs one that stands after it, which `make check` sees to.
table-y := text error scan map extents
table-$(CONFIG_NAMES) += source
table-$(CONFIG_VERITY) += verity
table-y += options table
table-$(CONFIG_TABLE_FILE) += conf
table-y += seal cmdline
table-$(CONFIG_ROWS) += order
table-y += within plan
device-y := file proc klog
device-$(CONFIG_NAMES) += names disks
device-$(CONFIG_VERITY) += hashtree
device-$(CONFIG_IMAGES) += loop
device-$(CONFIG_VERITY) += mapper
device-y += wait
mount-y := userns idmapped mounted view owners area standing further held refusal written once filesystem
mount-$(CONFIG_VERITY) += verified
mount-y += clone
mount-$(CONFIG_ROWS) += behind
mount-y += announced
mount-$(CONFIG_ROWS) += inside bind
mount-$(CONFIG_IMAGES) += image
mount-$(CONFIG_LAYERS) += looks top layers
mount-y += tree
mount-$(CONFIG_ROWS) += rows links
mount-y += stage build
mount-$(CONFIG_COMMAND) += replace
mount-y += format program
command-$(CONFIG_COMMAND) := json input walk mounts lock record plan id show suggestion ranges names subids \
	suggest realinit check root undo late inner peers earlier apply mount main
init-y := dev msg early watch
init-$(CONFIG_TABLE_FILE) += conf
init-y += table
init-$(CONFIG_MODULES) += modules
init-y += tell realinit handoff main

lib-objects := $(addprefix $(O)/obj/idmap/,$(table-y:%=table/%.o) $(device-y:%=device/%.o) \
	$(mount-y:%=mount/%.o))
init-objects := $(init-y:%=$(O)/obj/init/%.o)
command-objects := $(command-y:%=$(O)/obj/idmap/command/%.o)
objects := $(lib-objects) $(command-objects) $(init-objects)
# These see memory and nothing else.
pure := $(addprefix idmap/,$(addprefix table/,text error scan map extents options table conf seal cmdline \
	source verity order within plan) device/names device/hashtree device/proc mount/format)

all: $(O)/idmap-init $(O)/libidmap.a $(if $(CONFIG_COMMAND),$(O)/idmap)

# For `make check`.
.PHONY: list-sources list-pure
list-sources: $(autoconf)
	@echo $(objects:$(O)/obj/%.o=%.c)
list-pure:
	@echo $(pure:%=%.c)

$(objects): $(O)/obj/%.o: %.c $(autoconf) Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

-include $(objects:.o=.d)

$(O)/libidmap.a: $(lib-objects)
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)$(AR) rcsD $@ $^

$(O)/idmap-init.debug: $(init-objects) $(O)/libidmap.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) -o $@

$(O)/idmap-init: $(O)/idmap-init.debug
	$(call say,STRIP,$@)
	$(Q)$(STRIP) -s -R .comment -o $@ $<

$(O)/idmap: $(command-objects) $(O)/libidmap.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) -s -o $@

.PHONY: install size deb
# Asked for when it is needed, and not by goals that build nothing.
VERSION = $(shell sed -n 's/^.define IDMAP_VERSION "\(.*\)"/\1/p' idmap/version.h)
install: all
	install -D -m 755 $(O)/idmap-init $(DESTDIR)$(PREFIX)/sbin/idmap-init
	install -D -m 755 init/mkinitramfs $(DESTDIR)$(PREFIX)/sbin/idmap-mkinitramfs
	install -D -m 644 $(O)/libidmap.a $(DESTDIR)$(PREFIX)/lib/libidmap.a
	$(if $(CONFIG_COMMAND),install -D -m 755 $(O)/idmap $(DESTDIR)$(PREFIX)/sbin/idmap)
	install -d -m 755 $(addprefix $(DESTDIR)$(PREFIX)/share/man/man,5 8)
	install -m 644 man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -D -m 644 idmap/idmap.h $(DESTDIR)$(PREFIX)/include/idmap.h
	install -d -m 755 $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' idmap/idmap.pc.in >$(DESTDIR)$(PREFIX)/lib/pkgconfig/idmap.pc

# Debian's packages, from what git has; the source tree itself stays as it is.
deb:
	$(Q)rm -rf $(O)/deb && mkdir -p $(O)/deb/idmap-init
	$(Q){ git archive HEAD 2>/dev/null || tar -c --exclude=./build --exclude=./build-* .; } | tar -x -C $(O)/deb/idmap-init
	$(Q)cd $(O)/deb/idmap-init && dpkg-buildpackage --build=binary --no-sign >../log 2>&1 || { tail -n 40 ../log; exit 1; }
	$(Q)rm -rf $(O)/deb/idmap-init && ls $(O)/deb/*.deb

defconfigs := tiny default full
# One after the other and each in a folder of its own, so that a build in $(O) stays as it is.
size:
	$(Q)for c in $(defconfigs); do \
		$(MAKE) -s O=$(O)/size/$$c $${c}_defconfig && $(MAKE) -s O=$(O)/size/$$c all && \
		printf '%-8s %6d bytes, %6d after gzip -9\n' $$c $$(stat -c %s $(O)/size/$$c/idmap-init) \
			$$(gzip -9n <$(O)/size/$$c/idmap-init | wc -c) || exit 1; \
	done

### Tests #######################################################################################

.PHONY: messages diagram run bench check check-unit check-fuzz check-build check-boot check-kernels check-machines check-tools check-systems test-programs support-table mistakes-table

# The guest's side of the tests: plain static programs, whatever the configuration and CFLAGS.
test-programs: $(O)/probe $(O)/ids $(O)/renames
$(O)/probe $(O)/ids $(O)/renames: $(O)/%: qemu-test/%.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -Os -static -s $(warnings) $(if $(PROBE_TTY),-DPROBE_TTY='"$(PROBE_TTY)"') -o $@ $<

# The pure part on the host, with its own C library and the sanitizers. It sees the full table.
hostflags := -std=gnu11 -g -O1 $(warnings) -fsanitize=address,undefined -fno-sanitize-recover=all \
	-I$(O)/test/include -Iidmap
headers := $(wildcard idmap/*.h idmap/*/*.h)
pure-sources := $(pure:%=%.c)
unit-tests := $(basename $(wildcard idmap/test/test_*.c))
fuzzers := $(basename $(wildcard idmap/test/fuzz_*.c))
FUZZ_RUNS ?= 100000

$(O)/test/include/generated/autoconf.h: configs/default_defconfig $(kconfigs)
	$(Q)$(MAKE) -s O=$(O)/test default_defconfig
	$(Q)$(MAKE) -s O=$(O)/test $(O)/test/include/generated/autoconf.h

$(unit-tests:%=$(O)/test/%): $(O)/test/%: %.c $(pure-sources) $(headers) \
		$(O)/test/include/generated/autoconf.h
	$(call say,HOSTCC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(HOSTCC) $(hostflags) -DTEST_DATA='"$(srctree)/$(dir $<)table.data"' -o $@ $< \
		$(pure-sources) -lcmocka

$(fuzzers:%=$(O)/test/%): $(O)/test/%: %.c $(pure-sources) $(headers) \
		$(O)/test/include/generated/autoconf.h
	$(call say,CLANG,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(hostflags) -fsanitize=fuzzer -o $@ $< $(pure-sources)

# The same for people and for the README's tests: prints what a table means.
$(O)/test/print_plan: idmap/test/print_plan.c $(pure-sources) $(headers) \
		$(O)/test/include/generated/autoconf.h
	$(call say,HOSTCC,$@)
	$(Q)$(HOSTCC) $(hostflags) -o $@ $< $(pure-sources)

check-unit: $(unit-tests:%=$(O)/test/%)
	$(Q)failed=; for t in $^; do $$t || failed=1; done; test -z "$$failed"

# A fixed seed and a bounded number of runs. Inputs still differ a little between machines, since
# libFuzzer goes by what its build covers.
check-fuzz: $(fuzzers:%=$(O)/test/%)
	$(Q)for t in $^; do \
		dict=$${t#$(O)/test/}.dict; \
		$$t -seed=1 -runs=$(FUZZ_RUNS) -max_len=4096 -timeout=10 -artifact_prefix=$(O)/ \
			$$(test -f $$dict && echo -dict=$$dict) >$$t.log 2>&1 || \
			{ tail -n 40 $$t.log; exit 1; }; \
		echo "$${t##*/}: $$(tail -n 1 $$t.log)"; \
	done

pytest = PYTHONDONTWRITEBYTECODE=1 O=$(abspath $(O)) $(PYTHON) -m pytest -q -rs -p no:cacheprovider
check-build: all test-programs
	$(Q)$(pytest) -n 2 init/test idmap/test

# Each initramfs tool, and managers of guests; check-boot takes one of the tools. Then whole systems
# of Debian's. What ran is compared with README.md's table; WRITE=1 writes that, from both goals.
table-of-what-runs = $(Q)$(PYTHON) qemu-test/under.py $(O)/tools $(if $(WRITE),--write)
with-tools = $(Q)mkdir -p $(O)/tools && TOOLS=all TOOLS_TABLE=$(abspath $(O))/tools $(pytest) -n 2
check-tools: all test-programs
	$(with-tools) -m tools qemu-test
	$(table-of-what-runs)
check-systems: all test-programs
	$(with-tools) -m systems qemu-test
	$(table-of-what-runs)

# GUEST=aarch64, from the command line or the environment, boots guests of that architecture (arch.py).
# Of three workers two have a guest at most (qemu-test/guest.py), and one makes images meanwhile. The first
# boots most cases on one of the kernels that they name (--in-turn of conftest.py), the second on each.
check-boot: all test-programs
	$(Q)$(pytest) -n 3 --in-turn qemu-test
check-kernels: all test-programs
	$(Q)$(pytest) -n 3 qemu-test

# The chosen tenth of them for aarch64, and a handful for riscv64. README.md's table of what runs has them.
machine = $(Q)GUEST=$(1) TOOLS_TABLE=$(abspath $(O))/tools $(pytest) -n 3 -m every_machine
check-machines: all test-programs
	$(Q)mkdir -p $(O)/tools
	$(call machine,aarch64) qemu-test
	$(call machine,riscv64) $(addprefix qemu-test/test_,kernels.py root.py silent.py world.py)
	$(table-of-what-runs)

# Boots each filesystem on each kernel and writes README.md's table of them.
support-table: all test-programs
	$(Q)rm -rf $(O)/support
	$(Q)SUPPORT_TABLE=$(abspath $(O))/support $(pytest) -n 2 qemu-test/test_filesystems.py -k support
	$(Q)$(PYTHON) qemu-test/support.py $(O)/support

# Draws the picture of the README.
diagram:
	$(Q)$(PYTHON) -B man/diagram >man/idmap.svg

# Writes the messages of the sources into the manual.
messages:
	$(Q)$(PYTHON) -B man/messages

# Makes typical mistakes and writes BENCHMARKS.md's table of what is said of them.
mistakes-table: all test-programs
	$(Q)rm -rf $(O)/mistakes
	$(Q)MISTAKES_TABLE=$(abspath $(O))/mistakes $(pytest) -n 2 qemu-test/test_mistakes.py
	$(Q)$(PYTHON) qemu-test/mistakes.py $(O)/mistakes

# PARTS="stage1 wall chown calls growth sizes" names what is measured, FILES=400,minbase,100000 the
# trees of chown (1000000 files take 4 GB of disk and 5 GB of memory), WRITE=1 puts it into BENCHMARKS.md.
bench: all test-programs
	$(Q)O=$(abspath $(O)) $(if $(FILES),FILES=$(FILES)) $(PYTHON) qemu-test/bench/bench.py $(PARTS) \
		$(if $(WRITE),--write)

check: check-unit check-fuzz check-build check-boot check-machines
	@echo "make check: all of it passed"

run: all test-programs
	$(Q)O=$(abspath $(O)) $(PYTHON) qemu-test/run $(if $(KERNEL),--kernel '$(KERNEL)') \
		$(if $(MODULES),--modules '$(MODULES)') $(if $(IMAGE),--image '$(IMAGE)') \
		$(if $(APPEND),--append '$(APPEND)') $(if $(TIMEOUT),--timeout '$(TIMEOUT)')

### The rest ####################################################################################

.PHONY: clean distclean format packages
clean:
	rm -rf $(O)

distclean: clean

packages:
	./install-packages all

format:
	clang-format -i idmap/*.h idmap/*/*.[ch] init/*.[ch] qemu-test/*.c qemu-test/bench/*.[ch]

help:
	@echo 'Run and test (both install what is missing, as root on Debian):'
	@echo '  run              boot a guest whose root is mapped, and show it'
	@echo '                   KERNEL=6.1|6.12|7.x|FILE MODULES=DIR IMAGE=FILE APPEND="..." TIMEOUT=60 GUEST=aarch64'
	@echo '  check            every test: check-unit check-fuzz check-build check-boot check-machines'
	@echo '                   check-boot GUEST=aarch64 or riscv64: all of it on that architecture'
	@echo '  check-kernels    check-boot, on each kernel that a case names and not on one in turn (an hour)'
	@echo '  check-tools      initramfs tools, mkosi, a UKI, libvirt: what check leaves out (10 minutes)'
	@echo '  check-systems    whole Debians on mapped roots, with systemd and OpenRC (10 minutes)'
	@echo '  deb              make the Debian packages, in build/deb'
	@echo '  support-table    boot every filesystem on every kernel, write the table of README.md'
	@echo '  messages         write the table of messages into the manual'
	@echo '  mistakes-table   make typical mistakes, write the table of BENCHMARKS.md'
	@echo '  bench            time, growth and sizes against a floor, peers and chown, to O/bench; 30 minutes'
	@echo '                   PARTS="stage1 wall chown calls growth sizes" FILES=400,minbase WRITE=1'
	@echo 'Build:'
	@echo '  all              idmap-init and libidmap.a (the default)'
	@echo '  size             bytes of idmap-init by defconfig'
	@echo '  install          to DESTDIR and PREFIX (/usr/local)'
	@echo '  packages         install everything that packages.debian lists'
	@echo '  format           put the sources into the project'"'"'s style'
	@echo '  clean            remove the build folder'
	@echo 'Configure:'
	@echo '  tiny_defconfig default_defconfig full_defconfig'
	@echo '  menuconfig nconfig config oldconfig olddefconfig listnewconfig savedefconfig'
	@echo 'Variables: O=build (folder), V=1 (show commands), CC, CROSS_COMPILE, CFLAGS, LDFLAGS'
