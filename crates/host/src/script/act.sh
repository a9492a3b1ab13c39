# refloat: carries out one order on a host, at most once. Constant text; the order is lines on stdin, each checked here.
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin LC_ALL=C
export PATH LC_ALL
IFS= read -r OP; read -r GEN; read -r BOOT; read -r OK; read -r KIND; IFS= read -r A; IFS= read -r B
exec </dev/null 2>/dev/null
set -f
echo 'refloat 1'
echo '= act'
say() { echo ". $*"; exit 0; }
no() { say refused precondition "$@"; }
case $GEN in ''|0*|*[!0-9]*) say refused argument generation ;; esac
[ ${#GEN} -le 18 ] || say refused argument generation
read -r b </proc/sys/kernel/random/boot_id
[ "$b" = "$BOOT" ] || say refused other-boot "$b"
O=/run/refloat/orders
mkdir -p $O || say refused no-ledger
exec 9>/run/refloat/lock || say refused no-ledger
flock -n 9 || say refused busy
M=$O/$GEN
if [ -d "$M" ]; then
o=; IFS= read -r o <"$M/order"
[ "$o" = "$OP $KIND $A $B" ] || say refused conflict "$o"
e=; read -r e <"$M/ended"
case $e in ok|failed) [ -f "$M/output" ] && sed "s/^/ /" "$M/output"; say repeated $e ;; *) say interrupted ;; esac
fi
set +f
for d in $O/*; do
d=${d##*/}
case $d in *[!0-9]*) continue ;; esac
[ "$d" -gt "$GEN" ] && say refused older "$d"
done
set -f
case $KIND in unmount|truncate-log|reboot) [ "$OK" = yes ] || say refused no-consent ;; esac
t() { timeout -s KILL "$@" 9>&-; }
loaded() { [ "$(t 5 systemctl show -p LoadState "$1")" = LoadState=loaded ]; }
plain() {
case $1 in *//*|*/./*|*/../*|*/.|*/..|*/|*[[:cntrl:]]*) return 1 ;; esac
}
read -r UP x </proc/uptime
run() {
case $KIND in
restart) t 120 systemctl restart "$A.service" ;;
reexec-systemd) t 30 systemctl daemon-reexec ;;
kill)
kill -KILL "$A" || return 1
n=0
while [ -d "/proc/$A" ] && [ $n -lt 20 ]; do
read -r l <"/proc/$A/stat"; l=${l##*) }
[ "${l%% *}" = Z ] && return 0
sleep 0.1; n=$((n + 1))
done
[ ! -d "/proc/$A" ] || { echo 'still there'; return 1; } ;;
thaw) if [ -f "$A/freezer.state" ]; then echo THAWED >"$A/freezer.state"; else echo 0 >"$A/cgroup.freeze"; fi ;;
unmount) t 30 umount -c -f -l -- "$A" ;;
vacuum-journals) t 10 journalctl --rotate; t 30 journalctl "--vacuum-size=${A}M" ;;
truncate-log)
# A tenant may have the folder: it is entered, looked at from within, and nothing in it is followed or made.
d=${F%/*}
cd -P -- "$d" && [ "$(readlink /proc/self/cwd)" = "$d" ] || { echo 'the folder is another'; return 1; }
t 10 dd if=/dev/null "of=./${F##*/}" oflag=nofollow,nonblock conv=nocreat status=none ;;
start-time-sync) t 30 systemctl start "$F" ;;
reboot) return 0 ;;
esac
}
case $KIND in
restart)
case $A in kubelet|docker|containerd) ;; *) say refused argument unit ;; esac
loaded "$A.service" || no unit-not-loaded "$A" ;;
reexec-systemd) [ -d /run/systemd/system ] || no not-systemd ;;
kill)
case $A,$B in *[!0-9,]*|,*|*,|1,*|0*) say refused argument process ;; esac
l=; read -r l 2>/dev/null <"/proc/$A/stat"
[ -n "$l" ] || no process-gone
c=${l#*\(}; c=${c%)*}
set -- ${l##*) }
t=$1
[ "${20}" = "$B" ] || no process-other "${20}"
case $c in runc|docker-runc|runc:\[*|containerd-shim*|docker-containe) ;; *) no process-name "$c" ;; esac
a=$((${UP%.*} - B / 100))
[ $a -ge 60 ] || [ "$t" = T ] || [ "$t" = t ] || no process-young "$a" ;;
thaw)
case $A in /sys/fs/cgroup/*/kubepods*) ;; /sys/fs/cgroup/kubepods*) ;; *) say refused argument cgroup ;; esac
plain "$A" || say refused argument cgroup
[ -d "$A" ] || no cgroup-gone
[ "$(cd "$A" && pwd -P)" = "$A" ] || no cgroup-elsewhere
s=; read -r s 2>/dev/null <"$A/freezer.state" || read -r s 2>/dev/null <"$A/cgroup.freeze"
case $s in FROZEN|FREEZING|1) ;; *) no not-frozen "$s" ;; esac ;;
unmount)
case $A in /var/lib/kubelet/pods/?*) ;; *) say refused argument mount ;; esac
plain "$A" || say refused argument mount
M="$A" awk '{ p = $5; gsub(/\\040/, " ", p); gsub(/\\011/, "\t", p); gsub(/\\043/, "#", p); gsub(/\\134/, "\\", p) } p == ENVIRON["M"] { f = 1 } END { exit !f }' /proc/self/mountinfo || no not-mounted
f=/run/refloat/answers.$$
( t 2 stat -f -- "$A" >/dev/null 2>&1 9>&-; echo $? >$f ) &
n=0
while [ ! -s $f ] && [ $n -lt 25 ]; do sleep 0.1; n=$((n + 1)); done
c=137; [ -s $f ] && read -r c <$f
rm -f $f
[ "$c" != 0 ] || no mount-answers ;;
vacuum-journals) case $A in ''|0*|*[!0-9]*) say refused argument size ;; esac; [ ${#A} -le 7 ] || say refused argument size ;;
truncate-log)
case $A in *[!0-9a-f]*) say refused argument container ;; esac
[ ${#A} -eq 64 ] || say refused argument container
F=
r=$(readlink -f /var/lib/docker)
if [ -n "$r" ] && [ -e "$r/containers/$A/$A-json.log" ]; then F=$r/containers/$A/$A-json.log
else
set +f
for l in /var/log/containers/*-"$A".log; do [ -L "$l" ] && F=$(readlink "$l"); done
set -f
case $F in '') no no-log ;; /var/log/pods/?*) ;; *) no log-elsewhere "$F" ;; esac
plain "$F" || no log-elsewhere
fi
[ ! -L "$F" ] && [ -f "$F" ] && [ "$(readlink -f "$F")" = "$F" ] || no log-not-regular "$F" ;;
start-time-sync)
F=
for u in chronyd.service chrony.service ntpd.service ntp.service ntpsec.service systemd-timesyncd.service; do
loaded $u && F=$u && break
done
[ -n "$F" ] || no no-time-service ;;
reboot) ;;
*) say refused argument action ;;
esac
# The mark is made before anything is done; making it is what at most one can do.
mkdir "$O/$GEN" || say interrupted
M=$O/$GEN
printf '%s\n' "$OP $KIND $A $B" >"$M/order" || say refused no-ledger
if run >"$M/output" 2>&1; then e=ok; else e=failed; fi
echo $e >"$M/ended"
head -c 8192 "$M/output" | awk '{ print " " $0 }'
echo ". ran $e"
if [ "$KIND" = reboot ]; then
read -r b </proc/sys/kernel/random/boot_id
[ "$b" = "$BOOT" ] || exit 0
( sleep 1; timeout -s KILL 20 systemctl reboot || { timeout -s KILL 5 sync & sleep 5; echo b >/proc/sysrq-trigger; } ) >/dev/null 2>&1 9>&- &
fi
exit 0
