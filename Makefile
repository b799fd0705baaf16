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
say = $(if $(filter 1,$(V)),@:,@printf '  %-8s %s\n' $(1) $(patsubst $(O)/%,%,$(2)))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all help

# What a fresh machine lacks is installed before anything else looks for it.
ifneq ($(filter run check bench,$(MAKECMDGOALS)),)
ifneq ($(shell ./install-packages build run check >&2 || echo missing),)
$(error packages are missing, see the line above)
endif
endif

### Configuration ###############################################################################

config-goals := config menuconfig nconfig oldconfig olddefconfig savedefconfig listnewconfig \
	%_defconfig
no-config-goals := $(config-goals) help clean distclean packages
configured := $(if $(MAKECMDGOALS),$(filter-out $(no-config-goals),$(MAKECMDGOALS)),all)
autoconf := $(O)/include/generated/autoconf.h
kconfigs := Kconfig idmap/Kconfig init/Kconfig
# kconfig-conf writes below its working directory and reads below $srctree.
kconfig = mkdir -p $(O)/include/config $(O)/include/generated && \
	{ command -v $(1) >$(O)/include/.which || \
	{ echo "$(1) is missing; run ./install-packages build" >&2; exit 1; }; } && \
	cd $(O) && srctree=$(srctree) $(1) $(2) $(srctree)/Kconfig

.PHONY: $(filter-out %_defconfig,$(config-goals))
config oldconfig listnewconfig:
	$(Q)$(call kconfig,kconfig-conf,--$(subst olddefconfig,,$(if $(filter config,$@),oldaskconfig,$@)))
olddefconfig:
	$(Q)$(call kconfig,kconfig-conf,--olddefconfig)
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

warnings := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wconversion -Werror
# The same source in two folders gives the same bytes: no path of the folder gets into them.
cflags := -std=gnu11 -Os $(warnings) -ffile-prefix-map=$(srctree)/= -ffunction-sections \
	-fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident \
	-fno-strict-aliasing -I$(O)/include -Iidmap
ldflags := -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,--sort-section=alignment
ifeq ($(CONFIG_HARDENING),y)
cflags += -fPIE -fstack-protector-strong
ldflags += -static-pie -Wl,-z,relro -Wl,-z,now
else
cflags += -fno-pie -fno-stack-protector
ldflags += -static -no-pie -nostartfiles -Wl,-z,norelro
endif
override CFLAGS := $(cflags) $(CFLAGS)
override LDFLAGS := $(ldflags) $(LDFLAGS)

### Programs ####################################################################################

pure := text error map table plan
lib-y := $(pure) file userns tree stage
init-y := main msg early cmdline device handoff
init-$(CONFIG_MODULES) += modules
init-$(if $(CONFIG_HARDENING),n,y) += start
lib-objects := $(lib-y:%=$(O)/idmap/%.o)
init-objects := $(init-y:%=$(O)/init/%.o)
objects := $(lib-objects) $(init-objects)

all: $(O)/idmap-init $(O)/libidmap.a

$(objects): $(O)/%.o: %.c $(autoconf)
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
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(O)/idmap-init: $(O)/idmap-init.debug
	$(call say,STRIP,$@)
	$(Q)$(STRIP) -s -R .comment -R .note.gnu.property -o $@ $<

