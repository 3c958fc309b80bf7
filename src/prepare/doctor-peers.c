/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor-peers.c: what nodes are asked about each other, and who asks whom
 *
 * With many nodes not every pair is asked: each node asks the next sixteen in a ring, so that each
 * is asked about by sixteen others, and the work grows with the number of nodes only. */
#include "prepare/doctor-priv.h"

#include <string.h>

#define ROUNDS_ALL_PAIRS 9 /* nodes; with more, each measures so many times less one */

/* Per peer: scheme ("none": it has no listener), what we call it, the names to ask for (words),
 * and its address. The answers come as lines; see judge_peers. */
const char doctor_peers_script[] =
    "export LC_ALL=C\n"
    "set -f\n"
    "PATH=$PATH:/usr/sbin:/sbin\n"
    "ask() { timeout \"$1\" virsh -q -c \"$2\" hostname 2>&1 >/dev/null </dev/null; }\n"
    "said() { printf '%s ' $1 | tr -cd ' -~' | tail -c 250; }\n"
    "# Echo requests by hand where there is no ping: the same bytes, and nobody may fragment "
    "them.\n"
    "echo_program='use Socket;my($a,$n)=@ARGV;socket(S,PF_INET,SOCK_RAW,1)||exit 2;\n"
    "setsockopt(S,0,10,pack(\"i\",2));my $i=$$&65535;for my $q(1..2){\n"
    "my $p=pack(\"CCnnn\",8,0,0,$i,$q).(\"x\"x$n);my $s=0;$s+=$_ for "
    "unpack(\"n*\",$p.(length($p)%2?\"\\0\":\"\"));\n"
    "$s=($s>>16)+($s&65535);$s+=$s>>16;substr($p,2,2)=pack(\"n\",~$s&65535);\n"
    "send(S,$p,0,pack_sockaddr_in(0,inet_aton($a)))||next;my $end=time+2;\n"
    "while(time<$end){my $r=\"\";vec($r,fileno(S),1)=1;select($r,undef,undef,0.5)||next;\n"
    "my $f=recv(S,my $b,70000,0)||next;my(undef,$h)=unpack_sockaddr_in($f);\n"
    "my($v)=unpack(\"C\",$b);my($t,$x,$y)=unpack(\"C x3 n n\",substr($b,4*($v&15)));\n"
    "exit 0 if inet_ntoa($h)eq$a&&$t==0&&$x==$i&&$y==$q&&length($b)>=$n}}exit 1'\n"
    "echo_request() {\n"
    "  case $1 in *:*) six=-6 ;; *) six=-4 ;; esac\n"
    "  if command -v ping >/dev/null; then\n"
    "    ping $six -q -n -c 2 -i 0.2 -w 3 -M do -s \"$2\" \"$1\" >/dev/null 2>&1 && echo yes || "
    "echo no\n"
    "  elif [ $six = -4 ] && command -v perl >/dev/null; then\n"
    "    perl -e \"$echo_program\" \"$1\" \"$2\" && echo yes || echo no\n"
    "  else\n"
    "    echo unknown\n"
    "  fi\n"
    "}\n"
    "one() {\n"
    "  case $4 in *:*) u=\"[$4]\" head=48 ;; *) u=$4 head=28 ;; esac\n"
    "  if [ \"$1\" != none ]; then\n"
    "    if e=$(ask 12 \"$1://$u/system$6\"); then echo \"reach $2 yes address\"\n"
    "    else echo \"reach $2 no $(said \"$e\")\"; fi\n"
    "  fi\n"
    "  for name in $3; do\n"
    "    got=$(getent ahosts \"$name\" | sed 's/ .*//' | sort -u | head -n 8 | tr '\\n' ,)\n"
    "    echo \"resolve $2 $name ${got%,}\"\n"
    "    if [ -n \"$got\" ] && [ \"$1\" != none ]; then\n"
    "      if e=$(ask 12 \"$1://$name/system$6\"); then echo \"reach $2 yes $name\"\n"
    "      else echo \"reach $2 no by the name $name: $(said \"$e\")\"; fi\n"
    "    fi\n"
    "  done\n"
    "  dev=$(ip -o route get \"$4\" 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')\n"
    "  mtu=$(cat \"/sys/class/net/${dev:-none}/mtu\" 2>/dev/null)\n"
    "  if [ -n \"$mtu\" ] && [ \"$dev\" != lo ]; then\n"
    "    echo \"mtu $2 $mtu $(echo_request \"$4\" 56) $(echo_request \"$4\" $((mtu - head)))\"\n"
    "  fi\n"
    "  [ \"$5\" = first ] || return 0\n"
    "  if ask 6 \"qemu+tcp://$u/system\" >/dev/null; then echo \"plain $2 yes\"; else echo \"plain "
    "$2 no\"; fi\n"
    "  [ \"$1\" = qemu+tls ] && [ -e /etc/pki/CA/cacert.pem ] && t=$(mktemp -d) || return 0\n"
    "  cp /etc/pki/CA/cacert.pem \"$t/\"\n"
    "  if ask 6 \"qemu+tls://$u/system?pkipath=$t\" >/dev/null; then echo \"stranger $2 yes\"\n"
    "  else echo \"stranger $2 no\"; fi\n"
    "  rm -rf \"$t\"\n"
    "}\n"
    "which=first at=0\n"
    "while [ $# -ge 4 ]; do\n"
    "  query=\n"
    "  [ \"$1\" != qemu+ssh ] || query='?no_tty=1'\n"
    "  one \"$1\" \"$2\" \"$3\" \"$4\" $which \"$query\" &\n"
    "  which=other at=$((at + 1))\n"
    "  [ $((at % 8)) != 0 ] || wait\n"
    "  shift 4\n"
    "done\n"
    "wait";

/* $1 address, $2 port, $3 who may send */
const char doctor_receive_script[] =
    "perl_program='use IO::Socket::IP;my($a,$p,$w)=@ARGV;alarm 15;\n"
    "my $l=IO::Socket::IP->new(LocalHost=>$a,LocalPort=>$p,Listen=>4,ReuseAddr=>1)||die\"$@\\n\";\n"
    "while(my $c=$l->accept){next if $c->peerhost ne$w;my($n,$b)=(0);\n"
    "while(my $r=sysread($c,$b,262144)){$n+=$r;exit 1 if $n>268435456}\n"
    "syswrite($c,\"$n\\n\");print\"$n\\n\";exit 0}'\n"
    "python_program='\n"
    "import socket, signal, sys\n"
    "signal.alarm(15)\n"
    "a, p, w = sys.argv[1:4]\n"
    "l = socket.socket(socket.AF_INET6 if \":\" in a else socket.AF_INET)\n"
    "l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
    "l.bind((a, int(p)))\n"
    "l.listen(4)\n"
    "while True:\n"
    "    c, f = l.accept()\n"
    "    if f[0] != w:\n"
    "        continue\n"
    "    n = 0\n"
    "    while n <= 268435456:\n"
    "        b = c.recv(262144)\n"
    "        if not b:\n"
    "            break\n"
    "        n += len(b)\n"
    "    c.sendall(b\"%d\\n\" % n)\n"
    "    print(n)\n"
    "    break\n"
    "'\n"
    "if command -v perl >/dev/null; then exec perl -e \"$perl_program\" \"$1\" \"$2\" \"$3\"; fi\n"
    "for p in python3 /usr/libexec/platform-python; do\n"
    "  ! command -v $p >/dev/null || exec $p -c \"$python_program\" \"$1\" \"$2\" \"$3\"\n"
    "done\n"
    "echo \"there is neither perl nor python3 to measure with\" >&2; exit 1";

/* $1 our address, $2 the receiver's, $3 port, $4 bytes at most; for two seconds at most */
const char doctor_send_script[] =
    "perl_program='use IO::Socket::IP;my($f,$a,$p,$m)=@ARGV;alarm 15;my($s,$e,$over);\n"
    "for(1..50){$s=IO::Socket::IP->new(LocalHost=>$f,PeerHost=>$a,PeerPort=>$p,Timeout=>3)and "
    "last;\n"
    "$e=$!;last if $e!~/refused/;select(undef,undef,undef,0.1)}\n"
    "$s||die\"port $p of $a: $e\\n\";my($n,$b,$t)=(0,\"\\0\"x262144,`date +%s%6N`);\n"
    "$SIG{ALRM}=sub{$over=1};alarm 2;\n"
    "while($n<$m&&!$over){my $w=syswrite($s,$b);$n+=$w||0;defined $w||$over||die\"$!\\n\"}\n"
    "$SIG{ALRM}=\"DEFAULT\";alarm 12;shutdown($s,1);my $k=<$s>;\n"
    "defined $k&&$k==$n||die\"not all of it arrived\\n\";print\"$n \",`date +%s%6N`-$t,\"\\n\"'\n"
    "python_program='\n"
    "import socket, signal, sys, time\n"
    "signal.alarm(15)\n"
    "f, a, p, m = sys.argv[1:5]\n"
    "for i in range(50):\n"
    "    try:\n"
    "        s = socket.create_connection((a, int(p)), 3, (f, 0))\n"
    "        break\n"
    "    except ConnectionRefusedError as e:\n"
    "        s = e\n"
    "        time.sleep(0.1)\n"
    "    except OSError as e:\n"
    "        s = e\n"
    "        break\n"
    "if isinstance(s, OSError):\n"
    "    sys.exit(\"port %s of %s: %s\" % (p, a, s))\n"
    "s.settimeout(10)\n"
    "n, b, t = 0, bytes(262144), time.monotonic()\n"
    "while n < int(m) and time.monotonic() - t < 2:\n"
    "    n += s.send(b)\n"
    "s.shutdown(socket.SHUT_WR)\n"
    "k = s.makefile().readline()\n"
    "if k != \"%d\\n\" % n:\n"
    "    sys.exit(\"not all of it arrived\")\n"
    "print(n, int(1e6 * (time.monotonic() - t)))\n"
    "'\n"
    "if command -v perl >/dev/null; then exec perl -e \"$perl_program\" \"$@\"; fi\n"
    "for p in python3 /usr/libexec/platform-python; do\n"
    "  ! command -v $p >/dev/null || exec $p -c \"$python_program\" \"$@\"\n"
    "done\n"
    "echo \"there is neither perl nor python3 to measure with\" >&2; exit 1";

unsigned
doctor_peers(unsigned index, unsigned n, unsigned peers[DOCTOR_PEERS_MAX])
{
    unsigned count = MIN(n - 1, (unsigned)DOCTOR_PEERS_MAX);

    for (unsigned i = 0; i < count; i++)
        peers[i] = (index + 1 + i) % n;
    return count;
}

/* As in a tournament: the last one stands still, the others go round; the pairs face each other. */
bool
doctor_round(unsigned n, unsigned round, int *to)
{
    unsigned even = n + n % 2, turn = even - 1;

    if (n < 2 || round >= MIN(turn, (unsigned)ROUNDS_ALL_PAIRS - 1))
        return false;
    for (unsigned i = 0; i < n; i++)
        to[i] = -1;
    for (unsigned i = 0; i < even / 2; i++) {
        unsigned left = i == 0 ? turn : (round + i) % turn;
        unsigned right = (round + turn - i) % turn;
        if (left < n && right < n)
            to[MIN(left, right)] = (int)MAX(left, right);
    }
    return true;
}
