package Duplex::Loop;

# A single-threaded event loop: file handles, timers, and work for the end of
# the round.

use v5.36;
use IO::Select;
use Time::HiRes ();

sub new ($class) {
    return bless {
        select   => { read => IO::Select->new, write => IO::Select->new },
        watchers => { read => {}, write => {} },
        timers   => {},
        deferred => [],
        serial   => 0,
    }, $class;
}

# $mode is 'read' or 'write'; $code runs whenever the handle is ready.
sub watch ($self, $mode, $handle, $code) {
    $self->{select}{$mode}->add($handle);
    $self->{watchers}{$mode}{ fileno $handle } = $code;
    return;
}

sub unwatch ($self, $mode, $handle) {
    $self->{select}{$mode}->remove($handle);
    delete $self->{watchers}{$mode}{ fileno $handle };
    return;
}

# Gives a token for cancel().
sub timer ($self, $seconds, $code) {
    my $token = ++$self->{serial};
    $self->{timers}{$token} = [ Time::HiRes::time() + $seconds, $code ];
    return $token;
}

sub cancel ($self, $token) {
    delete $self->{timers}{$token} if defined $token;
    return;
}

# Runs $code once, before the loop waits again.
sub defer ($self, $code) {
    push $self->{deferred}->@*, $code;
    return;
}

sub stop ($self) { $self->{stopped} = 1; return }

sub run ($self) {
    until ($self->{stopped}) {
        while (my $code = shift $self->{deferred}->@*) { $code->() }
        last if $self->{stopped};

        my $now  = Time::HiRes::time();
        my @next = sort { $a <=> $b } map { $_->[0] } values $self->{timers}->%*;
        my $wait = @next ? ($next[0] > $now ? $next[0] - $now : 0) : undef;
        my ($reads, $writes) = IO::Select::select($self->{select}->@{qw(read write)}, undef, $wait);

        for my $ready ([ read => $reads ], [ write => $writes ]) {
            my ($mode, $handles) = @$ready;
            for my $handle (@{ $handles // [] }) {
                # An earlier watcher of this round may have closed it.
                my $number = fileno $handle;
                my $code = defined $number && $self->{watchers}{$mode}{$number} or next;
                $code->();
            }
        }
        $now = Time::HiRes::time();
        for my $token (sort { $a <=> $b } keys $self->{timers}->%*) {
            my $timer = $self->{timers}{$token} or next;
            next if $timer->[0] > $now;
            delete $self->{timers}{$token};
            $timer->[1]->();
        }
    }
    return;
}

1;
