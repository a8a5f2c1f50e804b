# Sends a job to the service of this machine, or only asks for a path, and prints the answer.
use strict;
use IO::Socket::INET;
my ($path, $job) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:8375") or die "no service: $!\n";
my $length = length($job // "");
my $method = defined $job ? "POST" : "GET";
print $socket "$method $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
    "Content-Type: application/json\r\nContent-Length: $length\r\n\r\n", $job // "";
print while <$socket>;
