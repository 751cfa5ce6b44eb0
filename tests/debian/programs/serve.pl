use strict; use warnings; use threads; use IO::Socket::INET; use File::Temp qw(tempdir);
print threads->create(sub { 6 * 7 })->join, "\n";
my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!;
unless (fork) { my $c = $server->accept; print $c uc <$c>; exit 3 }
my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $server->sockport) or die $!;
print $c "hello\n"; print <$c>; wait; print $? >> 8, "\n";
chdir(tempdir(CLEANUP => 1)) or die;
open my $f, ">", "a" or die; close $f; rename "a", "b"; print join(",", <*>), "\n";
chdir "/"; print getpwuid($<) . "\n"; print `echo sub`;
$SIG{ALRM} = sub { die "alarm\n" }; alarm 1; eval { sleep 60 }; print $@;
