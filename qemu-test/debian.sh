# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Sourced by the scripts that fetch what the tests need from Debian: kernels, virtiofsd, cross.
#
# Debian's own packages are used: signed, always there, and built with the options of a real
# distribution. Nothing is installed: a private apt configuration, whose mirror is the one that
# this machine already uses, downloads the packages of any suite; they are unpacked and thrown
# away. No root needed. Two at once are safe: a lock, and a rename at the very end.

set -eu
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin # depmod, for users without root

die()
{
	echo "${0##*/}: $1" >&2
	exit 1
}

# The first error line of a log, for a message of one line.
cause()
{
	sed -n 's/^E: //p' "$1" | head -n 1
}

cache=${IDMAP_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or IDMAP_CACHE}/.cache}/idmap-init}

# have FOLDER: prints it and ends the script if it is there.
have()
{
	[ ! -d "$1" ] || { echo "$1"; exit 0; }
}

# begin FOLDER SUITE [ARCHITECTURE]: makes ready to fill that folder of the cache from that suite.
# What goes into it is put together in $tmp/new; unpacked packages are in $tmp/root.
begin()
{
	folder=$1
	suite=$2
	architecture=${3-amd64}
	have "$folder"
	for tool in apt-get apt-cache dpkg-deb depmod flock; do
		command -v $tool >/dev/null ||
			die "$tool is missing: install apt, dpkg, kmod and util-linux, or fill $folder by hand"
	done
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -r $keyring ] || die "$keyring is missing: install debian-archive-keyring"

	mkdir -p "${folder%/*}" ||
		die "cannot make the cache $cache: set IDMAP_CACHE to a folder that can be written"
	exec 9>"${folder%/*}/.lock-${folder##*/}"
	flock 9
	have "$folder" # another one has just made it

	# shellcheck disable=SC2016 # apt's own $(...)
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' \
		'Created-By: Packages' | awk '$3 == "Debian" && $2 !~ /security/ { print $1; exit }')
	[ -n "$mirror" ] ||
		die "no Debian mirror in this machine's apt sources: add one and run apt-get update"

	tmp=$(mktemp -d "${folder%/*}/.tmp-${folder##*/}-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM

	# Real, empty folders: apt warns of a configured folder that does not exist.
	mkdir -p "$tmp/etc/apt.conf.d" "$tmp/etc/sources.list.d" "$tmp/etc/preferences.d" \
		"$tmp/etc/trusted.gpg.d" "$tmp/etc/auth.conf.d" "$tmp/state/lists/partial" \
		"$tmp/cache/archives/partial" "$tmp/debs" "$tmp/root" "$tmp/new"
	{
		# This machine's way to the network (proxies) stays; all else of its configuration does not.
		apt-config dump | grep -E '^Acquire::(http|https)(::|[[:space:]])' || true
		cat <<-END
			Dir::Etc "$tmp/etc";
			Dir::State "$tmp/state";
			Dir::State::status "/dev/null";
			Dir::Cache "$tmp/cache";
			APT::Architecture "$architecture";
			#clear APT::Architectures;
			APT::Architectures { "$architecture"; };
			APT::Sandbox::User "";
			APT::Update::Error-Mode "any";
			Acquire::Languages "none";
			Acquire::Check-Valid-Until "false";
			Acquire::Retries "3";
		END
	} >"$tmp/apt.conf"
	echo "deb [signed-by=$keyring] $mirror $suite main" >"$tmp/etc/sources.list"
	export APT_CONFIG="$tmp/apt.conf"

	apt-get -qq update >"$tmp/log" 2>&1 ||
		die "no package list of $suite: $(cause "$tmp/log"); check the network and this machine's apt mirror"
}

# dependencies PATTERN PACKAGE...: these, and from each along Depends those whose names match the
# regular expression; all of them go to $packages, each with a blank before it. One that the suite has
# lost is left out (linux-base-6.18… of backports, with nothing in it): a file that is missing for it is
# told by whoever wants that.
dependencies()
{
	pattern=$1
	shift
	todo=$*
	packages=
	while [ -n "$todo" ]; do
		# shellcheck disable=SC2086 # one word a package
		set -- $todo
		package=$1
		shift
		todo=$*
		case " $packages " in *" $package "*) continue ;; esac
		packages="$packages $package"
		todo="$todo $(apt-cache show --no-all-versions "$package" 2>/dev/null |
			sed -n 's/^Depends: //p' | tr ',|' '\n' | sed 's/^ *//; s/[ (].*//' |
			grep -E "$pattern" | while read -r name; do
				[ -z "$(apt-cache show "$name" 2>/dev/null)" ] || printf '%s ' "$name"
			done)"
		todo=${todo# }
		todo=${todo% }
	done
}

# Downloads and unpacks $packages.
unpack()
{
	# shellcheck disable=SC2086 # one word a package
	(cd "$tmp/debs" && apt-get -qq download $packages) >"$tmp/log" 2>&1 ||
		die "cannot download$packages: $(cause "$tmp/log"); check the network and this machine's apt mirror"
	for deb in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$deb" "$tmp/root" 2>"$tmp/log" ||
			die "cannot unpack ${deb##*/}: $(tail -n 1 "$tmp/log"); is the disk of $cache full?"
	done
}

# The folder is whole: it gets its name, which is printed.
finish()
{
	chmod 755 "$tmp/new"
	mv -T "$tmp/new" "$folder"
	echo "$folder"
}
