# SPDX-License-Identifier: GPL-2.0-only
# One unit of BusyBox's testsuite, run by suite.py as `busybox sh unit.sh UNIT` in a fresh copy of the unit's files.
#
# BusyBox's own drivers (testsuite/runtest, shell/ash_test/run-all) are not used, because they look for gcc, link
# every applet anew and let units share a directory. What they do for each single test is done here, word for word.
# Given: bindir, the directory with .config and busybox; LINKS, the one with a link for each applet.

unit=$1
tsdir=$PWD

oldstyle()
{
	status=0
	upper=$(echo "$unit" | tr a-z A-Z)
	name=${1##*/}
	for option in "CONFIG_$upper" $(sed -ne 's/^# FEATURE: //p' "$1"); do
		if grep -q "^# $option is not set$" "$bindir/.config"; then
			echo "UNTESTED: $name"
			return
		fi
	done
	mkdir ".tmpdir.$unit"
	cd ".tmpdir.$unit"
	d=$tsdir sh -x -e "$1" >"$name.stdout.txt" 2>&1 </dev/null || status=$?
	if [ $status = 0 ]; then
		echo "PASS: $name"
	else
		echo "FAIL: $name"
		[ ! "$VERBOSE" ] || cat "$name.stdout.txt"
	fi
	cd ..
	rm -rf ".tmpdir.$unit"
}

ashtest()
{
	name=${1%.tests}
	test -x "$1" && test -f "$name.right" || return
	"$THIS_SH" "./$1" 2>&1 | grep -va "^ash: using fallback suid method$" >"$name.xx"
	if diff -u "$name.xx" "$name.right" >"$name.diff"; then
		echo "PASS: $name"
	else
		echo "FAIL: $name"
		[ ! "$VERBOSE" ] || cat "$name.diff"
	fi
}

case $unit in
ash-*)
	unset LANG LC_ALL
	eval "$(sed -n 's/^CONFIG/export CONFIG/p' "$bindir/.config")"
	export PATH="$LINKS" THIS_SH="$LINKS/ash"
	for test in *.tests; do
		ashtest "$test"
	done
	;;
*)
	export PATH="$LINKS:$tsdir:$bindir"
	export OPTIONFLAGS=":$(sed -nr 's/^CONFIG_//p' "$bindir/.config" | sed 's/=.*//' | xargs | sed 's/ /:/g'):"
	if [ -d "$unit" ]; then
		for test in "$tsdir/$unit"/*; do
			oldstyle "$test"
		done
	fi
	if [ -f "$unit.tests" ]; then
		"$tsdir/$unit.tests"
	fi
	;;
esac
echo "DONE: $unit"
