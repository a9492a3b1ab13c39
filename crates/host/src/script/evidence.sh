# refloat: collects evidence. Constant text; how far back is a line of seconds on stdin. Everything is kept in memory, each
# source has its deadline, and what hangs is left.
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin LC_ALL=C
export PATH LC_ALL
read -r S
exec </dev/null 2>/dev/null
case $S in ''|*[!0-9]*) exit 64 ;; esac
[ ${#S} -le 9 ] || exit 64
echo 'refloat 1'
D=
for d in /run /dev/shm; do
mkdir -m 700 "$d/refloat-evidence.$$" && D=$d/refloat-evidence.$$ && break
done
[ -n "$D" ] || exit 71
trap 'rm -rf "$D"' EXIT
trap 'exit 1' HUP INT TERM PIPE
TMPDIR=$D
L=
# NAME LIMIT COMMAND…: the last LIMIT bytes of what it prints within eight seconds.
take() {
n=$1 m=$2; shift 2
L="$L $n"
( timeout -s KILL 8 "$@" 2>&1 | tail -c "$m" >"$D/$n.new"; mv "$D/$n.new" "$D/$n" ) &
}
sh_() { take "$1" "$2" sh -c "$3"; }
j() { n=$1; shift; take "$n" 8000000 journalctl --no-pager -q -o short-iso "--since=-${S}s" "$@"; }
j kernel.log -k
j kubelet.log -u kubelet.service
j docker.log -u docker.service
j containerd.log -u containerd.service
sh_ blocked-tasks.txt 1000000 'for t in /proc/[0-9]*/task/[0-9]*; do read -r l <$t/stat || continue; s=${l##*) }; case $s in D*) echo "== ${t##*/} ${l%)*})"; cat $t/stack; esac; done'
sh_ pressure.txt 100000 'for f in /proc/pressure/* /proc/loadavg /proc/meminfo /proc/vmstat /proc/buddyinfo /proc/cgroups /proc/sys/fs/file-nr /proc/swaps; do echo "== $f"; cat $f; done'
sh_ mounts.txt 1000000 'cat /proc/self/mountinfo'
sh_ space.txt 100000 'df -lPk; df -lPi'
sh_ processes.txt 2000000 'for f in /proc/[0-9]*/stat; do read -r l <$f && echo "$l"; done'
sh_ versions.txt 100000 'uname -a; cat /etc/os-release; rpm -q systemd dbus docker docker-ce containerd.io runc kubelet || dpkg-query -W systemd dbus docker.io containerd runc kubelet'
sh_ units.txt 1000000 'systemctl --no-pager list-units --all; systemctl --no-pager show kubelet.service docker.service containerd.service'
sh_ kubelet-config.txt 200000 'cat /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /etc/docker/daemon.json /etc/containerd/config.toml'
# The daemons' own stacks: only these two take the signal so; any other would die of it.
sh_ goroutines.txt 8000000 'for f in /proc/[0-9]*/comm; do read -r c <$f; p=${f%/comm}; p=${p#/proc/}; e=$(readlink /proc/$p/exe); case $c,${e##*/} in dockerd,dockerd*|containerd,containerd*) kill -USR1 $p ;; esac; done
sleep 2
for f in $(find /run/docker /var/run/docker /tmp -maxdepth 1 -user 0 -type f \( -name "goroutine-stacks-*.log" -o -name "containerd.*.stacks.log" \) -mmin -1); do echo "== $f"; dd "if=$f" iflag=nofollow,nonblock status=none; done'
n=0
while [ -n "$L" ] && [ $n -lt 90 ]; do
r=
for f in $L; do
if [ -f "$D/$f" ]; then
echo "= $f"; awk '{ print " " $0 }' "$D/$f"; echo '. end'; rm -f "$D/$f"
else r="$r $f"
fi
done
L=$r
[ -n "$L" ] && sleep 0.1
n=$((n + 1))
done
for f in $L; do echo "= $f"; echo '. timed-out'; done
