#!/bin/sh
# First process of a guest: a Linux kernel that runs as a process of the host (User-Mode Linux).
# The root file system is the host's own, read-only, so that every tool installed on the host is here.
#
# Words of the kernel's command line that are ours:
#   caddr=ADDRESS   address of vec0          name=NAME        host name
#   shared=FOLDER   host folder, writable    modroot=FOLDER   holds modules/<release>
#   modules=A,B,C   what to load             cache=FOLDER     programs built for the tests
#
# Host folders are mounted anew, by hostfs, so that one below /tmp is not hidden by the guest's own /tmp.
#
# It then obeys lines on its console, and answers with lines that begin with "@@":
#   run ID          runs /run/shared/ID.sh in the background; "@@done ID STATUS" when it ended
#   kill ID         kills that script and all that it started
#   stuck           prints the kernel stacks of tasks that wait uninterruptibly
#   off             powers off

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/run/home LC_ALL=C

word() { busybox sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev 2>/dev/null
for folder in /run /tmp /var/tmp; do busybox mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
busybox mkdir -p /run/mods/lib /run/cache /run/shared /run/home /run/rpc_pipefs /run/nfs /dev/shm /dev/pts
busybox mount -t tmpfs tmpfs /dev/shm
busybox mount -t devpts devpts /dev/pts 2>/dev/null
[ -d /var/lib/nfs ] && busybox mount -t tmpfs tmpfs /var/lib/nfs
busybox mkdir -p /var/lib/nfs/sm /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery 2>/dev/null

busybox hostname "$(word name)"
busybox mount -t hostfs none /run/shared -o "$(word shared)" || echo "@@fault cannot mount the shared folder"
ip link set lo up
ip link set vec0 up || echo "@@fault no network interface vec0"
ip addr add "$(word caddr)/24" dev vec0
busybox mount -t hostfs none /run/mods/lib -o "$(word modroot)"
busybox mount -t hostfs none /run/cache -o "$(word cache)"
for module in $(word modules | busybox tr , ' '); do
    modprobe -d /run/mods "$module" || echo "@@fault modprobe $module failed"
done

busybox stty -echo 2>/dev/null
busybox dmesg -n 5
echo "@@ready $(busybox uname -r)"

while read -r verb id; do
    case "$verb" in
    run)
        (
            setsid sh "/run/shared/$id.sh" </dev/null >"/run/shared/$id.out" 2>"/run/shared/$id.err" &
            echo $! >"/run/job-$id.pid"
            wait $!
            status=$?
            sync "/run/shared/$id.out" "/run/shared/$id.err"
            echo "@@done $id $status"
        ) &
        ;;
    kill) busybox kill -9 -- "-$(busybox cat "/run/job-$id.pid")" ;;
    stuck)
        # Two looks at the number of calls tell a storm from silence.
        busybox sed -n 's/^rpc /stuck: calls so far: /p' /proc/net/rpc/nfs
        for task in /proc/[0-9]*/task/[0-9]*; do
            if busybox grep -q '^State:.*D' "$task/status" 2>/dev/null; then
                echo "stuck: $(busybox cat "$task/comm") $(busybox cat "$task/wchan")"
                busybox cat "$task/stack" 2>/dev/null
            fi
        done
        busybox sleep 1
        busybox sed -n 's/^rpc /stuck: calls a second later: /p' /proc/net/rpc/nfs
        ;;
    off) busybox poweroff -f ;;
    esac
done
echo "@@fault the console was closed"
busybox poweroff -f
