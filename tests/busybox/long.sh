# SPDX-License-Identifier: GPL-2.0-only
# A long tour of what a shell asks of its kernel: busybox sh long.sh SCRATCH, with the applets in PATH.
#
# Every run prints the same bytes, natively or in a sandbox, as root or not: so no ids, owners, absolute paths,
# times, sizes of directories or orders of readdir are printed, and what runs in the background is waited for before
# the next line. Call it by a relative name, which is part of some messages. Applets that a build lacks are left out.
# shellcheck shell=busybox

exec 2>&1 </dev/null
export TZ=UTC0 LC_ALL=C
umask 022
mkdir -p "$1" && cd "$1" || exit 1
top=$(pwd -P)
busybox=$(readlink -f "/proc/$$/exe")

section() {
	cd "$top" || exit 1
	echo "== $*"
	rm -rf work
	mkdir work
	cd work || exit 1
}

have() { command -v "$1" >/dev/null; }
hide() { sed "s|$top|TOP|g"; } # for output with paths
show() { cat "$@" | cat; } # cat sends pages, not bytes: what changes the file next would change what was printed
reap() { wait "$@" 2>/dev/null; } # whether the shell says "Terminated" is a race


section pipes
printf '%s\n' b a c | sort | tr a-z A-Z | tr -d '\n'; echo
seq 1000 | cat | cat | cat | cat | tail -n 1
true | false; echo "status $?"
(set -o pipefail; false | true; echo "pipefail $?")
! false; echo "negated $?"
echo one | { read -r x; echo "read $x"; }
echo to-stderr 2>&1 >/dev/null | wc -l
{ echo out; echo err >&2; } 2>/dev/null | cat
seq 5 | while read -r n; do echo -n "$n "; done; echo

section a reader that leaves early
yes | head -n 3
(set -o pipefail; yes 2>/dev/null | head -n 1 >/dev/null; echo "yes died of $(kill -l $(($? - 128)))")
seq 100000 | head -n 2
sh -c 'trap "" PIPE; seq 100000 2>seq.err; echo $? >seq.status' | head -n 1
test "$(cat seq.status)" != 0 && echo "ignored SIGPIPE gives an error instead"

section redirections
echo one >f; echo two >>f; cat f
cat <f >g; cmp f g && echo same
echo err-to-file 2>e >&2; cat e
{ echo a; echo b >&2; } >both 2>&1; cat both
exec 3>three; echo through three >&3; exec 3>&-; cat three
(echo closed >&3) 2>/dev/null || echo "fd 3 is closed"
exec 4<f; read -r x <&4; read -r y <&4; exec 4<&-; echo "$x $y"
echo 1234567890 >rw; exec 5<>rw; read -r -n 4 x <&5; printf AB >&5; exec 5>&-; echo "$x"; cat rw
exec 6>shared 7>&6; echo six >&6; echo seven >&7; exec 6>&- 7>&-; cat shared
(set -C; echo no >f) 2>/dev/null || echo "noclobber holds"
(set -C; echo yes >|f); cat f
: >empty; test -s empty || echo empty
cat <nosuch 2>/dev/null || echo "no such file"
echo x >nosuch/dir 2>/dev/null || echo "no such directory"
{ echo swap-out; echo swap-err >&2; } 3>&1 1>&2 2>&3 | cat
exec 8<f; rm f; echo "still: $(cat <&8)"; exec 8<&-
ls -1 /proc/self/fd | grep -x '[0-9]' | tr '\n' ' '; echo

section here-documents
name=world
cat <<END
hello $name $((6 * 7)) $(echo sub) \$name
END
cat <<'END'
hello $name $((6 * 7)) \$name
END
cat <<-END
	tab is gone
	END
cat <<A; cat <<B
first
A
second
B
x=$(cat <<END
in a substitution
END
); echo "$x"
{ echo 'cat <<END'; seq 20000; echo END; } >big.sh
sh big.sh | md5sum

section subshells and substitution
x=outer; (x=inner; echo "$x"); echo "$x"
echo "$(echo "$(echo "$(echo nested)")")" `echo back\`echo ticks\``
(exit 3); echo $?
x=$(exit 4); echo $?
(cd /; pwd); test "$PWD" = "$top/work" && echo "still here"
x=$(seq 10000); echo ${#x}
sh -c 'test $PPID = '$$' && echo "parent is me"'
sh -c 'echo $$ >p; exec sh -c "echo \$\$ >>p"'; uniq p | wc -l

section background jobs and wait
true & wait $!; echo $?
(exit 7) & wait $!; echo $?
(exit 8) & a=$!; (exit 9) & b=$!; wait $b; echo $?; wait $a; echo $?
wait 999999999; echo "not a child: $?"
for i in 1 2 3 4 5 6 7 8 9 10; do echo "job $i" >"job$i" & done; wait; cat job? job10
for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5; do echo "$i $j" >>all; done & done; wait; sort -n all | md5sum
sleep 100 & kill $!; reap $!; echo $?
sleep 100 & kill -9 $!; reap $!; echo $?
sleep 0.05; echo slept
(sleep 0.02; echo later >later) & wait; cat later
sh -c '(sleep 0.02; echo orphan >orphan) & exit 0'; while ! test -s orphan; do :; done; cat orphan

section traps and signals
trap 'echo "USR1 in the shell"' USR1; kill -USR1 $$; trap - USR1
sh -c 'trap "echo leaving" EXIT; echo working; exit 5'; echo $?
sh -c 'trap "echo got TERM; exit 6" TERM; kill $$; echo not reached'; echo $?
sh -c 'trap "" TERM; kill $$; echo ignored'; echo $?
sh -c 'trap "" USR1; sh -c "kill -USR1 \$\$; echo inherited"'; echo $?
sh -c 'trap "echo one" USR1; trap "echo two" USR2; kill -USR1 $$; kill -USR2 $$; kill -USR1 $$'
sh -c 'trap "echo x" HUP; trap'
mkfifo ready
sh -c 'sleep 100 & trap "kill $!; echo told; exit 9" TERM; echo go >ready; wait' & read -r x <ready; kill $!; reap $!; echo $?
sh -c 'echo go >ready; while :; do :; done' & read -r x <ready; kill -KILL $!; reap $!; echo $?
sleep 100 & kill -STOP $!; kill -CONT $!; kill $!; reap $!; echo $?
for s in HUP KILL USR1 USR2 PIPE ALRM TERM; do sh -c "kill -$s \$\$" >/dev/null; echo "$s $?"; done
kill -l | tr '\n' ' ' | cut -c 1-60; kill -l 15; kill -l TERM
sleep 100 & kill -0 $! && echo alive; kill $!; reap $!; kill -0 $! 2>/dev/null || echo gone
kill -0 1000000000 2>/dev/null || echo "no such process"
(trap 'echo "subshell ends"' EXIT; echo in)

section exit codes
sh -c 'exit 42'; echo $?
sh -c 'exit 256'; echo $?
sh -c nosuchcommand; echo $?
echo 'echo hi' >noexec; ./noexec; echo $?
mkdir dir; ./dir; echo $?
sh -c 'set -e; false; echo not reached'; echo $?
sh -c 'set -e; if false; then :; fi; false || true; ! true; echo reached'; echo $?
sh -c 'set -u; echo $nosuch; echo not reached' 2>/dev/null; echo $?
sh -c 'return 3' 2>/dev/null; echo $?
sh nosuch.sh 2>/dev/null; echo $?

section programs and '#!'
printf '#!%s sh\necho "args: $*"\n' "$busybox" >script; chmod +x script; ./script a 'b c'
printf '#!./script\n' >twice; chmod +x twice; ./twice x
printf 'echo "no interpreter: $1"\n' >bare; chmod +x bare; ./bare y
printf '#!/nosuch/interpreter\n' >lost; chmod +x lost; ./lost 2>/dev/null; echo $?
printf '\177ELF garbage' >garbage; chmod +x garbage; ./garbage >/dev/null 2>&1; test $? != 0 && echo "garbage does not run"
ln -s "$busybox" echo; ./echo by a link
cp "$busybox" busybox-copy; ./busybox-copy echo by a copy
env -i A=1 B='2 3' env | sort
env -u A env | grep -c '^A='
X=only sh -c 'echo $X'; echo "[$X]"
(cd /proc/self && cat comm cmdline | tr '\0' ' '); echo
cat /proc/self/comm; tr '\0' ' ' </proc/self/cmdline; echo
readlink /proc/self/cwd | hide; test "$(readlink -f /proc/self/exe)" = "$busybox" && echo "exe is busybox"
grep ^Name: /proc/self/status
seq 3000 >numbers; echo $(cat numbers) | wc -w; sh -c 'echo $#' $(cat numbers)

section xargs
seq 10 | xargs
seq 10 | xargs -n 3 echo
printf 'a b\0c\0' | xargs -0 -n 1 echo
seq 3 | xargs -I {} echo "<{}>"
echo x | xargs sh -c 'exit 3'; echo $?
seq 100 | xargs -n 1 -P 4 sh -c 'echo $0 >>out'; sort -n out | md5sum
: | xargs -r echo nothing

section find
mkdir -p t/a/b t/c; echo 1 >t/one; seq 2000 >t/a/big; : >t/a/b/empty; ln -s one t/link; mkfifo t/pipe
touch -d '2001-01-01 00:00:00' t/one; touch -d '2002-01-01 00:00:00' t/c
find t | sort
find t -type f | sort; find t -type d | sort; find t -type l; find t -type p
find t -name '*e*' | sort; find t -iname ONE
find t -newer t/one -type f | sort
find t -size +4 ; find t -type f -size -1 ; find t -mtime +1000 | sort
find t -maxdepth 1 -mindepth 1 | sort
find t -name a -prune -o -print | sort
find t -type f -exec basename {} \; | sort
find t -type f -exec sh -c 'echo $#' sh {} +
find t -perm 644 | sort
find t -type f -print0 | sort -z | xargs -0 wc -l
find t -name empty -exec rm {} \;; find t -name 'e*'; find t -links +1 -type f
find nosuch 2>/dev/null; echo $?

section text tools
printf '3 c\n1 a\n2 b\n10 j\n1 a\n' >f
sort f; sort -n f; sort -rn f; sort -u f; sort -k 2 f; sort -t ' ' -k 1,1n -k 2r f
sort f | uniq; sort f | uniq -c; sort f | uniq -d
sed -n '2,3p' f; sed 's/\([0-9]*\) \(.*\)/\2=\1/' f; sed -e '/^1/d' -e 's/$/!/' f; sed -i 's/a/A/' f; cat f
sed = f | sed 'N;s/\n/:/'; echo abc | sed 'y/abc/xyz/'; seq 3 | sed '1!G;h;$!d'
awk '{ s += $1 } END { print s, NR }' f; awk -F ' ' '{ c[$2]++ } END { for (k in c) print k, c[k] }' f | sort
awk 'BEGIN { while (("seq 3" | getline x) > 0) print "got", x; print "x" | "cat"; close("cat"); exit system("exit 3") }'; echo $?
awk 'BEGIN { printf "%5.2f|%-5s|%05d|%x\n", 3.14159, "ab", 42, 255; print substr("hello", 2, 3), index("hello", "l"), length("four"), toupper("up"), 7 % 3 }'
grep 1 f; grep -c 1 f; grep -v 1 f; grep -n a f; grep -i A f; grep -o '[a-z]' f; grep -E '^(1|2) ' f; grep -q nosuch f; echo $?
grep -r c . | sort; grep -l j f; grep -F . f; echo $?; grep -w a f; echo $?
cut -d ' ' -f 2 f; cut -c 1 f; echo a:b:c | cut -d : -f 2-
echo hello | tr a-y b-z; echo 'a  b' | tr -s ' '; echo abc123 | tr -dc 0-9; echo; echo abc | tr '[:lower:]' '[:upper:]'
head -n 2 f; head -c 5 f; tail -n 2 f; tail -c 5 f; tail -n +4 f; wc f; wc -l <f; wc -c f
seq 5 | tac; echo abc | rev; seq 3 | nl; echo abcdefgh | fold -w 3; seq 4 | paste - -
seq -w 8 11; seq -s , 5; seq 10 -3 1; printf '\t|\n' | expand; printf '%s\n' 'text' | strings
awk 'NR == FNR { a[$1] = $2; next } $1 in a { print $1, a[$1], $2 }' f f | sort
have comm && { seq 1 4 >l; seq 3 6 >r; comm l r; comm -12 l r; }
seq 3 | tee t1 t2 | wc -l; cmp t1 t2; echo more | tee -a t1 >/dev/null; tail -n 1 t1

section printf expr and arithmetic
printf '%d %s %5s|%-5s|%05d %x %o %c %% %b\n' 42 str ab ab 42 255 8 char 'a\tb'
printf '%s-%s\n' a b c; printf '\101\n'
expr 6 \* 7; expr 10 / 3; expr abc : 'a\(.*\)'; expr length hello; expr 1 = 2; echo $?; expr substr hello 2 3
echo $((1 + 2 * 3)) $((7 / 2)) $((-7 % 3)) $((1 << 10)) $((0xff)) $((010)) $((5 > 3 ? 1 : 0)) $((~0))
i=5; echo $((i++)) $((++i)) $((i *= 2)) $i; : $((j = 3)); echo $j
echo $((9223372036854775807 + 1))
if have bc; then echo '2 ^ 100; scale = 10; 1 / 3' | bc; fi
if have dc; then dc -e '2 3 + p'; fi
have factor && factor 1001 97

section the shell language
f() { local x=$1; [ "$x" -le 1 ] && echo 1 && return; echo $((x * $(f $((x - 1))))); }; f 6
case foobar in foo) echo no;; f*r) echo glob;; *) echo no;; esac
for x in a "b c" d; do echo "[$x]"; done
i=0; until [ $i -ge 3 ]; do i=$((i + 1)); [ $i = 2 ] && continue; echo $i; done
while :; do break; done; echo broke
IFS=:; set -- a:b:c; for x in $1; do echo "$x"; done; unset IFS
echo 'a:b c:d' | { IFS=: read -r p q r; echo "$p/$q/$r"; }
printf 'x\\ty\nlast' | while read -r line || [ "$line" ]; do echo "<$line>"; done
args() { while getopts ab:c opt; do echo "opt $opt ${OPTARG-}"; done; shift $((OPTIND - 1)); echo "rest $*"; }; args -a -b val -c x y
v=/a/b/c.tar.gz; echo "${v##*/} ${v%/*} ${v%%.*} ${v#*.} ${#v} ${v:3:2} ${v/b/B} ${v//[ab]/-}"
unset u; echo "${u-dash} ${u:-colon} ${u:=set} $u ${u:+plus}"
set -- one two three; echo $# "$@" "$*" $2; shift; echo $1; set --; echo $#
touch a1 a2 b1; echo a* [ab]1 ?2 nomatch* '*'
alias hi='echo hello' 2>/dev/null; eval 'echo evaluated $((1 + 1))'
test -n x -a -z '' && [ 1 -lt 2 ] && [[ abc = abc ]] && echo tests
readonly ro=1; (ro=2) 2>/dev/null || echo read-only
x='a b'; set -- $x; echo $#; set -- "$x"; echo $#
command -v cd; type f | head -n 1; ulimit -n 64; ulimit -n
test -t 0 || echo "no terminal"; have tty && tty

section files
mkdir -p d/e/f; mkdir d 2>/dev/null || echo exists; rmdir d 2>/dev/null || echo "not empty"; rmdir -p d/e/f; ls
echo 1 >a; cp a b; ln a h; ln -s a s; ln -s nowhere dangling
readlink s; cat s; cat dangling 2>/dev/null || echo dangles; test -L dangling && test ! -e dangling && echo "a link to nothing"
test a -ef h && echo "one file"; test a -ef b || echo "two files"; stat -c '%h %s %F' a s d 2>/dev/null
readlink -f s | hide; realpath ./../work/s | hide; readlink -f dangling | hide
mv b a; cat a; cat h; mkdir dir; mv a s dir; ls dir; mv dir dir2; test -d dir || echo moved
mkdir x y; touch x/in; mv x y/; find y | sort; mv -n y/x/in dir2/; mv nosuch z 2>/dev/null || echo "cannot move"
rm nosuch 2>/dev/null || echo "cannot remove"; rm -f nosuch && echo "no matter"; rm -r y; rm dir2 2>/dev/null || echo "is a directory"
ln -s loop loop; cat loop 2>/dev/null || echo "a loop"; cat dir2/a/x 2>/dev/null || echo "not a directory"
touch "$(printf '%256s' | tr ' ' n)" 2>/dev/null || echo "name too long"
touch 'a b' ./-dash "$(printf 'tab\there')" 'ümlaut' .hidden; ls -A -1 | cat -v; rm ./-dash; ls -A -1 | grep -c dash
cat nosuch; cd nosuch; ls nosuch; mkdir no/such; cp nosuch b; rmdir .hidden; cat .; ln -s x dangling
printf abc >app; printf def >>app; show app; echo; truncate -s 2 app; show app; echo; truncate -s 5 app; od -c app
cp -r dir2 dir3; diff -r dir2 dir3 && echo "same trees"; cp -a dir2 dir4; readlink dir4/s
touch -d '2010-10-10 10:10:10' old; touch new; test new -nt old && test old -ot new && echo newer; touch -r old new; date -u -r new +%F_%T
cp -p old kept; date -u -r kept +%F_%T; mkdir deep; cd deep; mkdir -p 1/2/3/4/5/6/7/8/9; cd 1/2/3/4/5/6/7/8/9; pwd | hide
cd "$top/work"; ln -s deep/1 short; cd short; pwd | hide; pwd -P | hide; cd ..; pwd | hide; cd - | hide; cd -P ..; pwd | hide
mkdir "$top/work/gone"; cd "$top/work/gone"; rmdir "$top/work/gone"; ls; touch x 2>/dev/null || echo "the directory is gone"

section modes and times
touch f; mkdir d; for m in 644 600 755 4755 000 u+rwx g=u,o= a+r +x u-s; do chmod $m f; stat -c "$m %a %A" f; done
for m in 755 1777 700; do chmod $m d; stat -c '%a %A' d; done
umask; umask 027; touch g; mkdir e; stat -c '%a %n' g e; umask 077; touch p; stat -c '%a %n' p; umask 022; umask -S
touch -d '2001-02-03 04:05:06' f d; ls -la --full-time f | awk '{ print $1, $2, $5, $6, $7, $8, $9 }'; ls -ld --full-time d | awk '{ print $1, $6, $7, $9 }'
stat -c '%Y %y' f; touch -t 200506070809 g; stat -c %y g; touch -c nosuch; ls
echo 123 >s1; echo 1 >s2; ls -S s?; touch -d @1 s1; ls -t s?; ls -F; ls -p; ls -1 -r; ls -l s1 | awk '{ print $1, $5 }'
date -u -d @0; date -u -d @1000000000 '+%Y-%m-%d %H:%M:%S %j %a'; date -u -d '2000-02-29 12:00:00' +%s; cal 2 2000

section archives
mkdir -p t/sub; seq 100 >t/numbers; echo hello >t/sub/hello; ln -s numbers t/link; ln t/numbers t/hard; chmod 640 t/sub/hello; : >t/empty
touch -d '2003-03-03 03:03:03' t/numbers t/sub/hello t/empty
tar cf a.tar t; tar tf a.tar | sort | sed 's/hard/H/;s/numbers/N/'
mkdir x; tar xf a.tar -C x; diff -r t x/t && echo "tar keeps it"; stat -c '%a %Y' x/t/sub/hello; test x/t/hard -ef x/t/numbers && echo "hard link kept"; readlink x/t/link
tar czf a.tgz t; tar tzf a.tgz | wc -l; tar xzf a.tgz -O t/sub/hello; rm -r x; mkdir x; gunzip -c a.tgz | tar xf - -C x; diff -r t x/t && echo "tgz keeps it"
tar tvf a.tar t/sub/hello | awk '{ print $1, $3, $4, $5, $6 }'
seq 5000 >n; gzip -c n | gunzip -c | cmp - n && echo gzip; gzip n; ls n*; gunzip n.gz; ls n*; bzip2 -c n | bunzip2 -c | cmp - n && echo bzip2
gzip -t a.tgz && echo intact; echo junk >j.gz; gunzip -t j.gz 2>/dev/null || echo broken; have xzcat && echo "xz reads" && xzcat nosuch 2>/dev/null || echo "xz fails"
have cpio && find t | sort | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null

section dd
dd if=/dev/zero of=z bs=1k count=4 2>&1 | grep records; stat -c %s z
echo 0123456789abcdef >d; dd if=d bs=1 skip=4 count=4 2>/dev/null; echo; dd if=d bs=4 skip=1 count=2 2>/dev/null; echo
echo XX | dd of=d bs=1 seek=4 count=2 conv=notrunc 2>/dev/null; show d; echo YY | dd of=d bs=1 seek=2 2>/dev/null; show d
dd if=/dev/zero of=sparse bs=1 count=1 seek=1048576 2>/dev/null; stat -c %s sparse; md5sum <sparse
seq 1000 | dd bs=100 2>/dev/null | md5sum; seq 100000 | dd bs=64k iflag=fullblock count=2 2>/dev/null | wc -c

section named pipes
mkfifo p; seq 100 >p & md5sum <p; wait
cat p >got & echo through >p; wait; cat got
(for i in 1 2 3; do echo $i; done >p) & while read -r x; do echo "line $x"; done <p; wait
mkfifo q; exec 8<>q; (while read -r x; do echo $((x * 2)); done <p >&8) & exec 9>p; for i in 1 2 3; do echo $i >&9; read -r y <&8; echo "$i -> $y"; done; exec 9>&- 8>&-; wait
exec 9<>p; read -r -t 0.05 x <&9; echo "nothing to read: $(($? > 0))"; echo filled >&9; read -r x <&9; echo "$x"; exec 9>&-
test -p p && echo "a pipe"; stat -c %F p

section timeout # side by side: each takes a second, however little it is told
(timeout 0.05 sleep 100; echo $?) >o1 2>&1 &
(timeout -s KILL 0.05 sleep 100; echo $?) >o2 2>&1 &
(timeout 100 sh -c 'exit 3'; echo $?) >o3 2>&1 &
(seq 3 >log; timeout 0.1 tail -f log; echo $?) >o4 2>&1 &
(mkfifo p; timeout 0.05 cat <>p; echo $?) >o5 2>&1 &
(timeout 0.05 sh -c 'trap "echo asked to end; exit 1" TERM; while :; do :; done'; echo $?) >o6 2>&1 &
wait; cat o1 o2 o3 o4 o5 o6

section a large pipe
dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\0' x | cat | tee copy | wc -c; md5sum copy
seq 200000 | sort -rn | sort -n | tail -n 1; cat copy copy | dd bs=1M 2>/dev/null | gzip -1 | gunzip | wc -c

section many processes
i=0; s=0; while [ $i -lt 200 ]; do (exit $((i % 7))); s=$((s + $?)); i=$((i + 1)); done; echo $s
i=0; while [ $i -lt 100 ]; do env true || echo bad; i=$((i + 1)); done; echo $i
i=0; while [ $i -lt 50 ]; do (echo $i >"n$i") & i=$((i + 1)); done; wait; cat n* | sort -n | md5sum
deep() { [ "$1" = 0 ] && echo bottom && return; (deep $(($1 - 1))); }; deep 30
echo 'n=$1; [ $n = 0 ] && exit 9; sh ./down $((n - 1))' >down; sh down 20; echo $?

section process lists
sleep 100 & p=$!; until [ "$(cat /proc/$p/comm)" = sleep ]; do :; done
ps -o pid,comm | awk -v p=$p '$1 == p { print $2 }'; ps -o pid,ppid | awk -v p=$p -v me=$$ '$1 == p && $2 == me { print "my child" }'
ps -o pid,args | awk -v p=$p '$1 == p { $1 = ""; print }'; ps | head -n 1 | awk '{ print $1 }'; test -d /proc/$p && echo "in /proc"
top -b -n 1 | awk -v p=$p '$1 == "PID" { print } $1 == p { print "in top" }' | sed 's/ *$//'
awk -v me=$$ '{ print $2, ($4 == me) }' /proc/$p/stat; tr '\0' ' ' </proc/$p/cmdline; echo; readlink /proc/$p/cwd | hide
kill $p; reap $p; test -d /proc/$p || echo "gone from /proc"
setsid sh -c 'test "$(cut -d " " -f 6 /proc/$$/stat)" = $$ && echo "a session of its own"'
sleep 100 & before=$(awk '{ print $19 }' /proc/$!/stat); renice -n 3 -p $!; echo $(($(awk '{ print $19 }' /proc/$!/stat) - before)); kill $!; reap $!
have nice && echo $(($(nice -n 5 nice) - $(nice))); have nohup && nohup echo "not hung up" 2>/dev/null
mount | awk '$3 == "/" { n = 1 } END { print "root is mounted:", n }'; df -P . | awk 'NR == 1 { print $1 } NR == 2 { print NF }'; mkdir d; : >d/f; du -a d | awk '{ print $2 }'
free | awk 'NR == 1 { print $1, $2, $3 } /Mem/ { print ($2 > 0) }'; head -n 1 /proc/meminfo | cut -d : -f 1; uname -s -m; cut -d ' ' -f 1 /proc/version

section devices
echo lost >/dev/null; cat /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 100 /dev/urandom | wc -c
echo x >/dev/full 2>/dev/null || echo "full"; stat -c '%F %t %T' /dev/null /dev/zero; echo stdin | cat /dev/stdin; echo fd | cat /dev/fd/0; echo out | sh -c "cat >/dev/stdout" | cat

section sums and dumps
seq 100 >f; md5sum f; sha1sum f; sha256sum f; sha512sum f; md5sum f >s; md5sum -c s; have cksum && cksum f; have sha3sum && sha3sum f
printf 'hello\n\001\377' >b; od -An -tx1 b; od -c b; hexdump -C b; base64 b; base64 b | base64 -d | cmp - b && echo base64; have xxd && xxd b; have uuencode && uuencode -m b name

section comparing and patching
seq 10 >a; sed '3d;5s/5/five/;$a eleven' a >b; cmp a b; diff -u -L a -L b a b >p; echo $?; cat p
cp a c; patch c p; cmp b c && echo patched; patch -R c <p; cmp a c && echo restored; diff a c && echo "no difference"; diff -q a b
mkdir l r; echo 1 >l/x; echo 2 >r/x; echo 3 >l/only; diff -rq l r; have split && { split -l 4 a part; wc -l part*; cat part* | cmp - a && echo "joined again"; }

section temporary files
t=$(mktemp -d ./tmp.XXXXXX); test -d "$t" && stat -c %a "$t"; f=$(mktemp "$t/f.XXXXXX"); test -f "$f" && stat -c '%a %s' "$f"; rm -r "$t"; test -e "$t" || echo removed
TMPDIR=$PWD mktemp -t x.XXXXXX | hide | sed 's/\(x\.\).*/\1/'; ls | wc -l

cd "$top" && rm -rf work
echo "== end"
