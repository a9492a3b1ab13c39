# refloat: looks at a host. Constant text; which probes is a line of words on stdin, each checked against the list.
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin LC_ALL=C
export PATH LC_ALL
read -r W || exit 64
exec </dev/null 2>/dev/null
set -f
for p in $W; do
case $p in
files|processes|descriptors|mounts|write|disk-activity|units|bus|docker|containerd|kubelet|certificates|api-server|clock|freezer|packages|kernel-log|kubelet-log|docker-log|containerd-log) ;;
*) exit 64 ;;
esac
done
echo 'refloat 1'
now() { read -r U x </proc/uptime; y=${U#*.}; N=$((${U%.*} * 100 + ${y#0})); }
route() {
case $f in
/proc/net/route) [ "$2" = 00000000 ] && [ "$8" = 00000000 ] ;;
*) [ "$1$2" = 0000000000000000000000000000000000 ] && [ "${10}" != lo ] ;;
esac
}
# By the shell itself: works when no process is to be had.
files() {
set +f
set -- /proc/sys/kernel/random/boot_id /proc/uptime /proc/loadavg /proc/meminfo /proc/swaps /proc/stat /proc/vmstat /proc/pressure/cpu /proc/pressure/io /proc/pressure/memory /proc/buddyinfo /proc/cgroups /proc/sys/kernel/osrelease /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max /proc/sys/fs/file-nr /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max /proc/sys/fs/inotify/max_user_instances /proc/sys/fs/inotify/max_user_watches /proc/sys/net/ipv4/neigh/default/gc_thresh3 /proc/net/stat/arp_cache /proc/net/route /proc/net/ipv6_route /etc/os-release /sys/class/net/*/operstate
set -f
for f; do
case $f in /sys/class/net/veth*|/sys/class/net/cali*|/sys/class/net/lxc*) continue ;; esac
[ -r "$f" ] || continue
case $f in /proc/sys/*[xrts3]) K="$K $f"; continue ;; esac
echo " @$f"
while IFS= read -r l || [ -n "$l" ]; do
case $f in
/proc/stat) case $l in cpu*) ;; *) continue ;; esac ;;
/proc/vmstat) case $l in oom_kill\ *) ;; *) continue ;; esac ;;
/proc/net/route|/proc/net/ipv6_route) route $l || continue ;;
esac
printf '  %s\n' "$l"
done <"$f"
done
# Read byte by byte, as dash does, these end after the first.
awk '{ print " @" FILENAME; print "  " $0 }' $K
}
# Each probe has its end, whatever ends this.
finish() {
[ -n "$K" ] && echo '. done 0 0' && gone files
for p in $T; do echo "= $p"; echo '. not-started 0'; done
T=
[ -n "$D" ] && rm -rf "$D"
}
T=$W D= K=
gone() { r=; for q in $T; do [ "$q" = "$1" ] || r="$r $q"; done; T=$r; }
trap finish EXIT
trap 'exit 1' HUP INT TERM PIPE
for p in $W; do
[ "$p" = files ] || continue
now; s=$N
echo '= files'; files; now
K=
echo ". done 0 $(((N - s) * 10))"
gone files
break
done
[ -n "$T" ] || exit 0
for d in /run /dev/shm; do
mkdir -m 700 "$d/refloat-look.$$" && D=$d/refloat-look.$$ && break
done
[ -n "$D" ] || exit 71
TMPDIR=$D
export D TMPDIR
B=$(cat <<'BODY'
P=$1
t() { timeout -s KILL "$@"; }
come() {
n=0
while [ $n -lt 25 ]; do
a=1
for r; do [ -s "$r" ] || a=; done
[ -n "$a" ] && return
sleep 0.1
n=$((n + 1))
done
}
sec() {
s=$1; shift
echo "@$s"
o=$("$@"); c=$?
[ -n "$o" ] && printf '%s\n' "$o" | sed 's/^/ /'
echo "@exit $s $c"
}
certs() {
awk '{ sub(/[ \r]+$/, "") }
$0 == "-----BEGIN CERTIFICATE-----" { i = 1; print " " $0; next }
i && $0 == "-----END CERTIFICATE-----" { i = 0; print " " $0; next }
i { if ($0 ~ /^[A-Za-z0-9+\/=]+$/) print " " $0; else i = 0 }'
}
configs="/etc/kubernetes/kubelet.conf /etc/kubernetes/kubelet.kubeconfig /etc/kubernetes/kubelet-kubeconfig /var/lib/kubelet/kubeconfig /etc/kubernetes/kubeconfig"
value() { [ -r $2 ] && awk -v n="$1" '{ gsub(/[",\047]/, "") } $1 == n { print $2; exit }' $2; }
have() { for q; do for d in /usr/sbin /usr/bin /sbin /bin /usr/local/sbin /usr/local/bin; do [ -x $d/$q ] && return 0; done; done; return 1; }
now() { read -r U x </proc/uptime; y=${U#*.}; N=$((${U%.*} * 100 + ${y#0})); }
journal() { journalctl --no-pager -q -o short-iso -n 2000 "$@"; }
bus() {
w=$1; shift
if have dbus-send; then
o=$(t 4 dbus-send --system --print-reply --reply-timeout=3500 --dest="$1" "$2" "$3.$4" ${5:+string:$5} ${6:+string:$6} 2>&1); c=$?
else
g=; [ $# -gt 4 ] && g=s; [ $# -gt 5 ] && g=ss
o=$(t 4 busctl call "$1" "$2" "$3" "$4" $g ${5:+"$5"} ${6:+"$6"} 2>&1); c=$?
fi
case $c,$o in
0,*false*) echo "$w absent" ;;
0,*) echo "$w ok" ;;
137,*|*NoReply*|*imed\ out*) echo "$w hangs" ;;
*) echo "$w no" ;;
esac
}
case $P in
processes)
# Not by awk itself: mawk dies of a file whose process has just ended.
printf '%s\n' /proc/[0-9]*/task/[0-9]*/stat | xargs grep -sH '' | awk -v bl="$D/bl" '
{
split($0, A, "/")
l = substr($0, index($0, ":") + 1)
if (!match(l, /.*\)/)) next
comm = substr(l, index(l, "(") + 1, RLENGTH - index(l, "(") - 1)
if (split(substr(l, RLENGTH + 2), F, " ") < 20) next
state = F[1]; start = F[20]
tasks++
if (A[3] == A[5]) {
procs++
if (state == "Z") zombies++
runc = comm == "runc" || comm == "docker-runc" || substr(comm, 1, 6) == "runc:["
shim = substr(comm, 1, 15) == "containerd-shim" || comm == "docker-containe"
stopped = state == "T" || state == "t" || state == "D"
if (runc || shim && stopped) { O[++o] = A[3]; S[o] = start; C[o] = comm; X[o] = state; K[o] = runc && !stopped }
}
if (state == "D") print A[3], A[5], start, comm >bl
}
END {
print "tasks " tasks + 0; print "processes " procs + 0; print "zombies " zombies + 0
fflush()
getline up < "/proc/uptime"; split(up, Y, " ")
for (i = 1; i <= o; i++) {
age = int(Y[1] - S[i] / 100); if (age < 0) age = 0
if (K[i] && age < 60) continue
id = "-"; l = ""; cmd = "tr \"\\000\" \" \" </proc/" O[i] "/cmdline"
cmd | getline l; close(cmd)
n = split(l, V, /[^0-9a-f]+/)
for (j = 1; j <= n; j++) if (length(V[j]) == 64) id = V[j]
print "old " O[i], S[i], age, X[i], id, C[i]
}
}'
r=/sys/fs/cgroup
[ -d $r/pids ] && r=$r/pids
# Names of units have backslashes, which xargs would take away.
find $r -maxdepth 5 -name 'pids.[cem]*' | head -n 10000 | xargs -d '\n' grep -sH '' | awk '
match($0, /\/pids\.[a-z]*:/) {
d = substr($0, 1, RSTART - 1); k = substr($0, RSTART + 6, 1); v = substr($0, RSTART + RLENGTH)
if (k == "m") M[d] = v
if (k == "c") C[d] = v
if (k == "e" && sub(/^max /, "", v)) E[d] = v
}
END {
for (d in M) { n++; if (M[d] + 0 > 0 && C[d] * 100 >= M[d] * 80) print "crowded", C[d], M[d], d in E ? E[d] : "-", d }
if (n) print "cgroups", n
}'
[ -s "$D/bl" ] || exit 0
ran() { grep -s ^voluntary /proc/$p/task/$t/status; }
while read -r p t s c; do echo "$p $t $s $(ran | tr -dc 0-9). $c"; done <"$D/bl" >"$D/b2"
sleep 1
while read -r p t s v c; do
l=; read -r l </proc/$p/task/$t/stat
set -- ${l##*) }
[ "$1" = D ] && [ "${20}" = "$s" ] && [ "$v" = "$(ran | tr -dc 0-9)." ] || continue
echo "blocked $t $s $p $c"
k=$(sed 's/^\[<[^>]*>\] *//; s/+0x.*//; /^0x/d; /^$/d; s/^/ /' /proc/$p/task/$t/stack)
[ -n "$k" ] || read -r k </proc/$p/task/$t/wchan
case $k in ''|0) ;; *) echo " ${k# }" ;; esac
done <"$D/b2" ;;
descriptors)
find /proc/[0-9]*/fd -maxdepth 1 -type l \( -lname anon_inode:inotify -o -lname '/* (deleted)' \) -printf '%U %p %l\n' >"$D/fds"
echo "inotify-instances $(grep -c '^0 .* anon_inode:inotify$' "$D/fds")"
echo "inotify-watches $(awk '$1 == 0 && $3 == "anon_inode:inotify" { sub(/\/fd\//, "/fdinfo/", $2); print $2 }' "$D/fds" | xargs -r grep -sh '^inotify wd' | wc -l)"
for f in /proc/[0-9]*/comm; do
c=; read -r c <"$f"
case $c in kubelet|dockerd|containerd) ;; *) continue ;; esac
p=${f%/comm}; m=$(grep '^Max open files' $p/limits)
set -- $m; m=$4
set -- $p/fd/*
[ "$m" -gt 0 ] && echo "daemon $c $# $m"
done
awk '$3 ~ /^\// && $3 !~ /^\/(memfd:|dev\/|SYSV|\[aio\])/ { print $2 }' "$D/fds" | xargs -r stat -L -c '%n %b %d:%i' | awk -v min=104857600 '
NR == FNR { if ($2 * 512 >= min && !seen[$3]++) size[$1] = $2 * 512; next }
$2 in size { split($2, A, "/"); l = $0; sub(/^[^ ]* [^ ]* /, "", l); sub(/ \(deleted\)$/, "", l); printf "%s %.0f %s\n", A[3], size[$2], l }' - "$D/fds" | while read -r p s l; do
c=; read -r c </proc/$p/comm
printf 'deleted %s %s %s\t%s\n' "$p" "$s" "$c" "$l"
done ;;
mounts)
awk '
{ split($0, H, " - "); split(H[2], R, " "); k = R[1]; p = $5 }
k == "overlay" || k == "aufs" { if (p != "/") next }
k == "tmpfs" && p != "/run" && p != "/dev/shm" && p != "/tmp" && p != "/" { next }
k ~ /^(autofs|binfmt_misc|bpf|cgroup|cgroup2|configfs|debugfs|devpts|devtmpfs|efivarfs|fusectl|hugetlbfs|mqueue|nsfs|nfsd|proc|pstore|ramfs|rootfs|rpc_pipefs|securityfs|selinuxfs|squashfs|iso9660|sysfs|tracefs)$/ { next }
{
net = k ~ /^(fuse|fuse\..*|nfs|nfs4|cifs|smb3|ceph|glusterfs|lustre|9p|afs)$/
if (!net && $3 in seen) next
if (!net) seen[$3] = 1
m = ("," R[3] ",") ~ /,ro,/ ? "ro" : "rw"
e = p; gsub(/\\/, "\\0", e)
if (p in at) L[at[p]] = ""
at[p] = ++n; L[n] = $3 " " k " " m " " R[2] " " p " " e
}
END { for (i = 1; i <= n; i++) if (L[i] != "") print L[i] }' /proc/self/mountinfo >"$D/mi"
w=
while read -r d k m s p e; do
case " $w" in *" $D/m.$d "*) continue ;; esac
w="$w$D/m.$d "
( o=$(t 2 stat -f -c '%S %b %f %c %d' -- "$(printf %b "$e")"); echo "$? $o" >"$D/m.$d" ) &
done <"$D/mi"
come $w
while read -r d k m s p e; do
c=137 S=0; [ -s "$D/m.$d" ] && read -r c S b f i j <"$D/m.$d"
case $c in
0) echo "mount ok $k $m $((S * (b - f))) $((S * b)) $((i - j)) $i $s $p" ;;
137) echo "mount hangs $k $m 0 0 0 0 $s $p" ;;
*) echo "mount fails $k $m 0 0 0 0 $s $p" ;;
esac
done <"$D/mi" ;;
write)
q="/var/lib/kubelet /var/lib/docker /var/lib/containerd /var/log /run" w=
for d in $q; do
f=$D/w.$(echo $d | tr / .); w="$w $f"
(
read -r u </proc/sys/kernel/random/uuid
f=$d/.refloat-write-trial.$u
set +f -C
if [ ! -d $d ]; then r=none
elif e=$( { : >$f; } 2>&1 ); then rm -f $d/.refloat-write-trial.*; r=ok
else
case $e in
*space*) r=ENOSPC ;; *uota*) r=EDQUOT ;; *ead-only*) r=EROFS ;; *nput/*) r=EIO ;; *ermi*) r=EACCES ;; *clean*) r=EUCLEAN ;; *) r=error ;;
esac
fi
echo $r >$D/w.$(echo $d | tr / .)
) &
done
come $w
for d in $q; do
r=hang; f=$D/w.$(echo $d | tr / .); [ -s $f ] && read -r r <$f
[ $r = none ] || echo "write $r $d"
done ;;
disk-activity)
cd /sys/block || exit 0
b=" $(echo *) "
snap() { read -r U x </proc/uptime; echo "@$U"; awk -v b="$b" '$3 !~ /^(loop|ram|zram|sr|fd)[0-9]/ && index(b, " " $3 " ") && $4 + $8 > 0 { print " " $0 }' /proc/diskstats; }
snap; sleep 1; snap ;;
units)
read -r U x </proc/uptime
echo @uptime; echo " $U"
echo @exe; echo " $(readlink /proc/1/exe)"
sec manager t 4 systemctl show -p Version,NNames,SystemState
sec units t 4 systemctl show -p Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,Result,ExecMainCode,ExecMainStatus,KillMode,ActiveEnterTimestampMonotonic kubelet.service docker.service containerd.service cri-docker.service crio.service dbus.service systemd-logind.service systemd-journald.service refloat-agent.service
set -f
for k in $o; do
case $k in MainPID=0) continue ;; MainPID=*) ;; *) continue ;; esac
l=; read -r l </proc/${k#*=}/stat; l=${l##*) }
[ -n "$l" ] && echo "@process ${k#*=}" && echo " ${l%% *}"
done ;;
bus)
have dbus-send busctl || exit 0
bus bus org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId &
bus systemd org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Properties Get org.freedesktop.systemd1.Manager Version &
(
o=$(bus logind org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus NameHasOwner org.freedesktop.login1)
[ "$o" = 'logind ok' ] && o=$(bus logind org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.DBus.Properties Get org.freedesktop.login1.Manager IdleSinceHint)
echo "$o"
) &
wait ;;
docker)
if have dockerd dockerd-current; then
echo installed
# What it is told at its start; its own word for it comes later, when it has one.
w=$(tr -d ' \t\r\n' 2>/dev/null </etc/docker/daemon.json)
case $w in *'"live-restore":true'*) echo 'live-restore true' ;; *'"live-restore":false'*) echo 'live-restore false' ;; esac
fi
[ -S /var/run/docker.sock ] || { have dockerd dockerd-current && echo 'socket absent'; exit 0; }
have docker || exit 0
now; s=$N
v=$(t 3 docker version -f '{{.Server.Version}}' 2>&1); c=$?
now
case $c,$v in
0,*) echo 'socket ok'; echo "ping $(((N - s) * 10))"; echo "version $v" ;;
137,*) echo 'socket ok'; echo 'ping hangs'; exit 0 ;;
*,*annot\ connect*) echo 'socket refused'; exit 0 ;;
*) echo 'socket ok'; echo 'ping fails'; exit 0 ;;
esac
l=$(t 2 docker info -f '{{.LiveRestoreEnabled}}') && echo "live-restore $l"
i=$(t 3 docker ps -aq --no-trunc); c=$?
case $c in 0) echo 'list ok' ;; 137) echo 'list hangs'; exit 0 ;; *) echo 'list fails'; exit 0 ;; esac
[ -n "$i" ] || exit 0
if o=$(t 2 docker inspect -f '{{.Id}} {{.State.Status}}' $i); then
printf '%s\n' "$o" | sed 's/^/container /; s/$/ ok/'
exit 0
fi
n=0
for k in $i; do
[ $((n += 1)) -gt 40 ] && break
(
o=$(t 2 docker inspect -f '{{.State.Status}}' $k)
case $? in 0) echo "container $k $o ok" ;; 137) echo "container $k - hangs" ;; *) echo "container $k - fails" ;; esac
) &
done
wait ;;
containerd)
a=/run/containerd/containerd.sock
have containerd && echo installed
[ -S $a ] || { have containerd && echo 'socket absent'; exit 0; }
have ctr || exit 0
now; s=$N
v=$(t 3 ctr -a $a version 2>&1); c=$?
now
case $c,$v in
0,*) echo 'socket ok'; echo "ping $(((N - s) * 10))"; printf '%s\n' "$v" | awk '/^Server/ { s = 1 } s && /Version:/ { print "version " $2; exit }' ;;
137,*) echo 'socket ok'; echo 'ping hangs'; exit 0 ;;
*,*refused*) echo 'socket refused'; exit 0 ;;
*) echo 'socket ok'; echo 'ping fails'; exit 0 ;;
esac
r=ok
for n in k8s.io moby; do
o=$(t 2 ctr -a $a -n $n tasks ls)
case $? in 0) ;; 137) r=hangs ;; *) r=fails ;; esac
printf '%s\n' "$o" | awk 'NR > 1 && length($1) == 64 { if ($3 == "UNKNOWN") print "container " $1 " - fails"; else print "container " $1 " " tolower($3) " ok" }'
done
echo "list $r" ;;
kubelet)
if have curl; then
o=$(curl -s -m 2 -w '\n%{http_code}' http://127.0.0.1:10248/healthz); c=$?
else
o=$(t 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/10248 || exit 7; printf "GET /healthz HTTP/1.0\r\n\r\n" >&3; cat <&3' | awk '{ sub(/\r$/, "") } NR == 1 { s = $2; next } b { print } $0 == "" { b = 1 } END { if (s) print s }'); c=0
[ -n "$o" ] || c=7
fi
case $c in
0) echo "@healthz $(printf '%s\n' "$o" | tail -n 1)"; printf '%s\n' "$o" | sed '$d; s/^/ /' | grep -v '^ $' ;;
7) echo '@healthz refused' ;;
28) echo '@healthz timeout' ;;
*) echo '@healthz error' ;;
esac
echo @config
grep -ho -e 'failSwapOn"*: *[a-z]*' -e 'fail-swap-on=[a-z]*' /var/lib/kubelet/config.yaml /etc/kubernetes/kubelet.yaml /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/sysconfig/kubelet | sed 's/"//g; s/^/ /' ;;
certificates)
for f in /var/lib/kubelet/pki/kubelet-client-current.pem /var/lib/kubelet/pki/kubelet-server-current.pem /var/lib/kubelet/pki/kubelet.crt /etc/kubernetes/pki/ca.crt /etc/kubernetes/ssl/kubelet.pem; do
[ -r $f ] && echo "@$f" && certs <$f
done
for f in $configs; do
d=$(value client-certificate-data: $f)
[ -n "$d" ] && echo "@$f" && printf '%s\n' "$d" | base64 -d | certs
d=$(value client-certificate: $f)
case $d in ''|/var/lib/kubelet/pki/*) ;; /*) [ -r "$d" ] && echo "@$d" && certs <"$d" ;; esac
done ;;
api-server)
for f in $configs; do
u=$(value server: $f)
[ -n "$u" ] && break
done
[ -n "$u" ] || exit 0
case $u in http:*) q=80 ;; *) q=443 ;; esac
u=${u#*://}; u=${u%%/*}
case $u in *]:*|[!\[]*:*) q=${u##*:}; u=${u%:*} ;; esac
h=${u#[}; h=${h%]}
echo "address $u:$q"
o=$(t 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$h" "$q" 2>&1)
case $?,$o in
0,*) echo 'result ok' ;;
137,*|*imed\ out*) echo 'result timeout' ;;
*refused*) echo 'result refused' ;;
*known*|*resolution*|*ervname*) echo 'result name' ;;
*) echo 'result unreachable' ;;
esac ;;
clock)
echo @now; echo " $(date +%s.%N)"
s=$(t 2 timedatectl | awk -F': ' '/synchronized:/ { print $2; exit }')
[ -n "$s" ] && echo @synchronised && echo " $s"
sec units t 3 systemctl show -p Id,LoadState,ActiveState,UnitFileState chronyd.service chrony.service ntpd.service ntp.service ntpsec.service systemd-timesyncd.service ;;
freezer)
find /sys/fs/cgroup -path '*kubepods*' \( -name freezer.self_freezing -o -name cgroup.freeze \) -exec grep -lx 1 {} + | sed 's|/[^/]*$||; s/^/frozen /' ;;
packages)
if have rpm; then t 5 rpm -q --qf '%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n' systemd dbus docker docker-ce docker.io containerd containerd.io runc kubelet kernel | grep -v ' is not '
elif have dpkg-query; then t 5 dpkg-query -W -f '${Package} ${Version}\n' systemd dbus docker docker-ce docker.io containerd containerd.io runc kubelet kernel | awk 'NF == 2'
fi
exit 0 ;;
kernel-log) journal -k || dmesg | tail -n 2000 ;;
kubelet-log) journal -u kubelet.service ;;
docker-log) journal -u docker.service ;;
containerd-log) journal -u containerd.service ;;
esac
BODY
)
now
L=
for p in $T; do
case $p in
kubelet|certificates|freezer) d=3 ;;
disk-activity|write|api-server|clock) d=4 ;;
processes|descriptors|mounts|units|bus) d=5 ;;
*) d=6 ;;
esac
( timeout -s KILL $d sh -c "$B" sh "$p" >"$D/$p"; echo $? >"$D/$p.rc" ) &
L="$L $p:$d"
done
s=$N
while [ -n "$L" ]; do
now
R=
for e in $L; do
p=${e%:*} d=${e#*:}
t=$((N - s))
if [ -s "$D/$p.rc" ]; then
read -r c <"$D/$p.rc"
o="done $c"
[ "$c" = 137 ] && [ $t -ge $((d * 100)) ] && o=timed-out
elif [ $t -gt $((d * 100 + 50)) ]; then o=timed-out
else R="$R $e"; continue
fi
echo "= $p"
case $p in *-log) tail -c 262144 "$D/$p" ;; *) head -c 262144 "$D/$p" ;; esac | awk '{ print " " $0 }'
echo ". $o $((t * 10))"
gone "$p"
done
L=$R
[ -n "$L" ] && sleep 0.05
done
exit 0
