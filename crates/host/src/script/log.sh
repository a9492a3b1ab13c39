# refloat: a unit's journal as it is. Constant text; unit, seconds and `follow` are lines on stdin, each checked here.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin LC_ALL=C
export PATH LC_ALL
read -r U; read -r S; read -r F
exec </dev/null
case $S in ''|*[!0-9]*) exit 64 ;; esac
[ ${#S} -le 9 ] || exit 64
case $U in kubelet|docker|containerd) set -- -u "$U.service" ;; kernel) set -- -k ;; *) exit 64 ;; esac
case $F in follow) set -- -f --no-tail "$@" ;; esac
exec journalctl --no-pager -q -o short-iso "--since=-${S}s" "$@"
