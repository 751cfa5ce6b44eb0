# users.sh: what the programs that change who somebody is say and do, on a Debian root that is thrown away.
exec 2>&1
export LC_ALL=C
useradd -m -s /bin/bash alice; useradd -m -s /bin/bash bob; groupadd team; usermod -aG team alice
printf 'alice:secret1\nbob:secret2\n' | chpasswd; echo chpasswd $?
id alice; id bob
su alice -c 'id; whoami; cat /etc/shadow; echo x >/etc/passwd; touch ~/mine && ls -l ~ | tail -1 | cut -c1-30'
su - bob -c 'pwd; echo $HOME $USER $LOGNAME; id -un'
su bob -c 'ls -ld /root; ls /root >/dev/null; cd /home/alice && ls -la >/dev/null; touch /home/alice/no; kill -0 1; kill -9 1'
echo "--- su with password"
su bob -c 'echo secret1 | su alice -c "id -un"' | tail -1
su bob -c 'echo wrong | su alice -c "id -un"' | tail -1
echo "--- sudo"
printf 'alice ALL=(ALL) NOPASSWD: ALL\nbob ALL=(alice) NOPASSWD: /usr/bin/id\nDefaults !lecture, !fqdn\n' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test
visudo -c | head -3
sudo -u alice id -un
su alice -c 'sudo -n id; sudo -n -u bob id -un; sudo -n -l | tail -1; sudo -n sh -c "echo \$SUDO_USER \$SUDO_UID; id -u"; sudo -n -g team id -gn; sudo -n env | grep ^SUDO_ | sort'
su bob -c 'sudo -n id; sudo -n -u alice /usr/bin/id -un; sudo -n -u alice whoami' 
chmod 666 /etc/sudoers.d/test; su alice -c 'sudo -n true'; chmod 440 /etc/sudoers.d/test
echo "--- newgrp sg"
su alice -c 'echo "id -gn; id -Gn" | newgrp team; sg team -c "id -gn"; echo id -gn | newgrp daemon </dev/null' 
echo "--- passwd"
printf 'secret1\nnew-Secret9\nnew-Secret9\n' | su alice -c passwd ; su bob -c 'echo new-Secret9 | su alice -c "id -un"' | tail -1
passwd -S alice | cut -d' ' -f1,2; passwd -l alice; su bob -c 'echo new-Secret9 | su alice -c "id -un"' | tail -1; passwd -u alice
ls -l /etc/shadow /etc/passwd /usr/bin/passwd /usr/bin/su /usr/bin/sudo | cut -d' ' -f1,3,4
su alice -c 'chfn -f "Alice A" ; getent passwd alice; chsh -s /bin/sh </dev/null; getent passwd alice | cut -d: -f7'
echo "--- setpriv capsh"
setpriv --reuid bob --regid bob --init-groups id
setpriv --reuid 1234 --regid 99 --clear-groups --bounding-set -all --inh-caps=-all sh -c 'id; grep -e Cap -e NoNew /proc/self/status'
setpriv --reuid bob --regid bob --clear-groups --inh-caps +net_bind_service --ambient-caps +net_bind_service sh -c 'grep Cap[^B] /proc/self/status'
setpriv --no-new-privs su bob -c 'sudo -n true'
capsh --drop=cap_chown -- -c 'touch /tmp/c; chown bob /tmp/c; grep CapEff /proc/self/status | cut -c20-'
capsh --user=bob -- -c 'id -un; grep CapEff /proc/self/status'
capsh --keep=1 --user=bob --inh=cap_net_raw --addamb=cap_net_raw -- -c 'grep -e CapEff -e CapAmb /proc/self/status'
cp /usr/bin/chown /tmp/mychown; setcap cap_chown+ep /tmp/mychown; getcap /tmp/mychown; su bob -c 'touch /tmp/f; /tmp/mychown alice /tmp/f; ls -l /tmp/f | cut -d" " -f1,3; chown bob /tmp/f'
cp /usr/bin/id /tmp/sid; chmod 4755 /tmp/sid; su bob -c /tmp/sid; chmod 2755 /tmp/sid; su bob -c /tmp/sid
su bob -c 'umask 077; touch /tmp/bobs; ln /tmp/f /tmp/f2; mkdir /tmp/sticky; chmod 1777 /tmp/sticky; touch /tmp/sticky/b'; su alice -c 'cat /tmp/bobs; rm -f /tmp/sticky/b; mv /tmp/sticky/b /tmp/sticky/c; rm -rf /tmp/sticky'
login -f alice -h x </dev/null; runuser -u bob -- id -un
userdel -r bob; echo userdel $?; id bob; ls -d /home/bob
