#!/usr/bin/env perl

# The conformance target: configured by its environment, it offers the
# conformance service with what the library in lib/ has.

use v5.36;
no warnings 'experimental::builtin';
use builtin qw(true false is_bool created_as_number);
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Handle;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Duplex;

$SIG{PIPE} = 'IGNORE';

# --- configuration

my $ADDRESS = qr/\A(?:[0-9]{1,3}\.){3}[0-9]{1,3}:[0-9]{1,5}\z/;
my %KNOWN   = (
    TRANSPORT => qr/\A(?:stdio|tcp)\z/,
    ROLE      => qr/\A(?:acceptor|initiator)\z/,
    FRAMING   => qr/\A(?:length|newline)\z/,
    CODEC     => qr/\Ajson\z/,
    LISTEN    => $ADDRESS,
    CONNECT   => $ADDRESS,
);

my %config = map { $_ => $ENV{"DUPLEX_$_"} } keys %KNOWN;
for my $name (sort keys %KNOWN) {
    my $value = $config{$name};
    refuse_configuration("DUPLEX_$name=$value") if defined $value && $value !~ $KNOWN{$name};
}
my @needed = qw(TRANSPORT ROLE FRAMING CODEC);
push @needed, $config{ROLE} eq 'acceptor' ? 'LISTEN' : 'CONNECT'
    if ($config{TRANSPORT} // '') eq 'tcp' && defined $config{ROLE};
for my $name (@needed) {
    refuse_configuration("DUPLEX_$name is not set") if !defined $config{$name};
}

sub refuse_configuration ($what) {
    say STDERR "not implemented: $what";
    exit 89;
}

# --- what outlives a connection

my %sinks;          # key => [ values ]
my %sunk;           # key => [ [ n, continuation ], … ] that wait for values
my %tokens;         # key => number
my %takers;         # key => [ [ ticket, continuation ], … ] that wait for a token

sub append ($key, $value) {
    my $sink = $sinks{$key} //= [];
    push @$sink, $value;
    my $waiting = delete $sunk{$key} or return;
    for my $one (@$waiting) {
        if (@$sink >= $one->[0]) { $one->[1]->() }
        else                     { push $sunk{$key}->@*, $one }
    }
    return;
}

# Runs $code with a token of that key; gives a sub that stops waiting for one.
sub take_token ($key, $code) {
    if ($tokens{$key}) {
        delete $tokens{$key} if !--$tokens{$key};
        $code->();
        return sub { };
    }
    state $last_ticket = 0;
    my $ticket = ++$last_ticket;
    push $takers{$key}->@*, [ $ticket, $code ];
    # It refers to the ticket alone, since $code may refer to it.
    return sub { forget_taker($key, $ticket) };
}

sub forget_taker ($key, $ticket) {
    my @left = grep { $_->[0] != $ticket } @{ $takers{$key} // [] };
    if (@left) { $takers{$key} = \@left } else { delete $takers{$key} }
    return;
}

sub release_token ($key) {
    my $taker = $takers{$key} && shift $takers{$key}->@*;
    delete $takers{$key} if $takers{$key} && !$takers{$key}->@*;
    return $taker->[1]->() if $taker;
    $tokens{$key}++;
    return;
}

# --- the conformance service

my $loop = Duplex::Loop->new;
my $rpc  = Duplex->new(loop => $loop);

sub unfit () { Duplex::Error->throw(-32602, 'invalid payload') }

# Takes payloads apart: members of a map, or an error that says so.
sub is_string ($value) { return defined $value && !ref $value && !is_bool($value) && !created_as_number($value) }
sub string ($value)    { return is_string($value) ? $value : unfit() }
sub number ($value)    { return defined $value && !ref $value && created_as_number($value) ? $value : unfit() }
sub integer ($value)   { return number($value) == int $value ? $value : unfit() }
sub map_of ($value)    { return ref $value eq 'HASH' ? $value : unfit() }

sub throw_asked ($error) {
    Duplex::Error->throw(integer($error->{code}), string($error->{message}), $error->{data});
}

# A handler that gets the first payload and the channel, and goes on by itself.
sub with_first ($handler) {
    return sub ($channel) {
        $channel->recv(sub ($kind, $value) {
            return give_up($channel, $kind) if $kind eq 'failed' || $kind eq 'error';
            $handler->($value, $channel);
        });
    };
}

# The arguments failed: aborted by the caller, or lost.
sub give_up ($channel, $kind) {
    return $kind eq 'error' ? $channel->send_err(-32004, 'the arguments were aborted') : $channel->done;
}

# Streams $n items, waiting while too much is unsent, and then runs $code.
sub stream_up_to ($channel, $n, $code, $i = 1) {
    while ($i <= $n) {
        $channel->send($i++) or return $channel->done;
        return $channel->peer->when_writable(sub {
            $channel->guard(sub { stream_up_to($channel, $n, $code, $i) });
        }) if !$channel->peer->is_writable;
    }
    return $code->();
}

my %service = (
    describe => sub ($channel) { $channel->send_last(description()) },

    echo => Duplex::func(sub ($payload, $channel) { $payload }),

    sum => sub ($channel) {
        my $total = 0;
        $channel->recv(sub ($kind, $value) {
            if ($kind eq 'item') {
                $total += number($value);
                return $channel->recv(__SUB__);
            }
            return $channel->send_last($total) if $kind eq 'end';
            return give_up($channel, $kind);
        });
    },

    count => with_first(sub ($payload, $channel) {
        my $n = integer(map_of($payload)->{n});
        return $channel->finish if $n < 1;
        stream_up_to($channel, $n - 1, sub { $channel->send_last($n) });
    }),

    pipe => sub ($channel) {
        $channel->recv(sub ($kind, $value) {
            if ($kind eq 'item') {
                $channel->send($value);
                return $channel->recv(__SUB__);
            }
            return $channel->finish if $kind eq 'end';
            return give_up($channel, $kind);
        });
    },

    take => with_first(sub ($payload, $channel) {
        my $n     = integer(map_of($payload)->{n});
        my $trace = $payload->{trace};
        my @taken;
        return $channel->send_last([]) if $n < 1;
        $channel->recv(sub ($kind, $value) {
            append($trace, event($kind, $value)) if defined $trace;
            if ($kind eq 'item') {
                push @taken, $value;
                return $channel->recv(__SUB__) if @taken < $n;
            }
            return $channel->send_last(\@taken) if $kind eq 'item' || $kind eq 'end';
            return give_up($channel, $kind);
        });
    }),

    fail => with_first(sub ($payload, $channel) { throw_asked(map_of($payload)) }),

    fail_after => with_first(sub ($payload, $channel) {
        stream_up_to($channel, integer(map_of($payload)->{n}), sub { throw_asked($payload) });
    }),

    crash => with_first(sub ($payload, $channel) {
        stream_up_to($channel, map_of($payload)->{after} // 0, sub { die "$payload->{text}\n" });
    }),

    hold => with_first(sub ($payload, $channel) {
        my $key  = string($payload);
        my $stop = take_token($key, sub { $channel->send_last($key) });
        $channel->on_close(sub { $stop->(); append($key, 'closed'); $channel->done }) if $channel->{running};
    }),

    release => Duplex::func(sub ($payload, $channel) { release_token(string($payload)); undef }),

    sink => Duplex::func(sub ($payload, $channel) {
        append(string(map_of($payload)->{key}), $payload->{value});
        undef;
    }),

    sunk => with_first(sub ($payload, $channel) {
        my $key = string(map_of($payload)->{key});
        my $n   = integer($payload->{n});
        my $tell = sub { $channel->send_last($sinks{$key} // []) };
        return $tell->() if @{ $sinks{$key} // [] } >= $n;
        push $sunk{$key}->@*, [ $n, $tell ];
        $channel->on_close(sub {
            $sunk{$key} = [ grep { $_->[1] != $tell } @{ $sunk{$key} // [] } ];
            delete $sunk{$key} if !$sunk{$key}->@*;
            $channel->done;
        });
    }),

    call => with_first(\&call_tester),

    offer => Duplex::func(sub ($payload, $channel) {
        my $as = string(map_of($payload)->{as});
        unfit() if $as ne 'echo' && $as ne 'call';
        return $channel->peer->callback($rpc->{methods}{"conformance.$as"});
    }),

    register => Duplex::func(sub ($payload, $channel) {
        $rpc->register_func(string(map_of($payload)->{name}), sub ($value, $) { $value });
        undef;
    }),

    unregister => Duplex::func(sub ($payload, $channel) {
        my $name = string(map_of($payload)->{name});
        $rpc->unregister($name);
        $channel->peer->release($name);
        undef;
    }),

    inspect => sub ($channel) {
        my $counts = $channel->peer->counts;
        $counts->{$_}-- for qw(incoming handlers);             # its own call
        $channel->send_last({ %$counts, connections => $rpc->connections });
    },

    close => sub ($channel) {
        $channel->send_last(undef);
        $channel->peer->close;
    },
);

# What a user of a channel sees, as the contract writes it.
sub event ($kind, $value) {
    return { item => $value } if $kind eq 'item';
    return { end => true } if $kind eq 'end';
    return { error => $value } if $kind eq 'error';
    return $value eq 'closed' ? { closed => true } : { failed => true };
}

# conformance.call: calls the tester, and tells what came of it.
sub call_tester ($payload, $channel) {
    my $what  = map_of($payload);
    my $trace = $what->{trace};
    my $times = $what->{times} // 1;
    my @events;
    my $see = sub ($event) {
        push @events, $event;
        append($trace, $event) if defined $trace;
    };
    my $after = ($what->{when} // 'during') eq 'after';
    $channel->send_last(undef) if $after;

    my $go_on = sub {
        return call_once($what, $channel, $see, __SUB__) if $times-- > 0;
        $channel->send_last(\@events) if !$after;
    };
    return $go_on->();
}

# One call: gives events to $see, and runs $done after the last of them.
sub call_once ($what, $channel, $see, $done) {
    my @args   = @{ $what->{args} // [undef] };
    push @args, 'x' x $what->{fill} if defined $what->{fill};
    my $stream = @args != 1 || $what->{end} || defined $what->{abort};
    my %ext    = defined $what->{ext} ? (ext => $what->{ext}) : ();

    if ($what->{notify}) {
        $channel->notify(string($what->{method}), $args[0], %ext);
        return $done->();
    }
    my $call = $channel->open(string($what->{method}), %ext);
    if ($what->{single}) {
        return $call->result($args[0], sub ($kind, $value) {
            $see->(event($kind, $value));
            $see->({ end => true }) if $kind eq 'item';
            return $done->();
        });
    }
    my $stop;                                                  # stops waiting for a token
    my $key = $what->{read};
    my $next = sub ($code) { defined $key ? take_token($key, sub { $call->recv($code) }) : $call->recv($code) };
    $next->(sub ($kind, $value) {
        $see->(event($kind, $value));
        return $next->(__SUB__) if $kind eq 'item';
        $stop->() if $stop;
        $see->({ ext => $call->reply_ext }) if defined $call->reply_ext;
        return $done->();
    });
    return $call->send_last($args[0]) if !$stream;

    # Sends until it has to wait for a token, or there is nothing left to send.
    my $abort_at = $what->{abort} // -1;
    my $last     = $what->{end} || $abort_at >= 0 ? -1 : $#args;
    my $sent     = 0;
    my $feed = sub {
        my $self = __SUB__;
        while (1) {
            return $call->abort             if $sent == $abort_at;
            return $call->finish            if $sent == @args;
            return $call->send_last($args[$sent]) if $sent == $last;
            $call->send($args[$sent++])     or return;
            next if !defined $what->{pace} || $sent == @args || $sent == $abort_at;
            $stop = take_token($what->{pace}, sub { $self->() });
            return;
        }
    };
    return $feed->();
}

sub description () {
    my $limits = $rpc->limits;
    return {
        contract   => 1,
        name       => 'perl',
        version    => '1.0.0',
        language   => 'Perl',
        profiles   => [qw(core caller streaming callbacks middleware inspect)],
        roles      => [qw(acceptor initiator)],
        transports => [qw(stdio tcp)],
        framings   => [qw(length newline)],
        codecs     => ['json'],
        limits     => { map { $_ => $limits->{$_} } qw(frame open_calls buffered_items buffered_bytes draining_ids ext depth) },
        lacks      => {},
    };
}

$rpc->register("conformance.$_", $service{$_}) for keys %service;

# --- the test hooks

for my $name (qw(a b)) {
    my %hook;
    for my $point (qw(outbound_request inbound_request outbound_reply inbound_reply)) {
        $hook{$point} = sub ($frame) {
            my $test = $frame->{ext} && $frame->{ext}{'dev.duplex.conformance'};
            my $notes = $frame->{call}{notes} //= {};
            my $nth = ++$notes->{"$name.$point"};
            return if ref $test ne 'HASH';
            if ($frame->{first} && ref $test->{do} eq 'HASH' && $test->{do}{"$name.end"}) {
                $notes->{"$name.end"} = $test->{do}{"$name.end"}{sink};
            }
            push $test->{marks}->@*, "$name.$point";
            my $do = ref $test->{do} eq 'HASH' ? $test->{do}{"$name.$point"} : undef;
            return if ref $do ne 'HASH' || ($do->{nth} // $nth) != $nth;
            append($do->{sink}, "$name.$point") if exists $do->{sink};
            die "$do->{fail}\n" if exists $do->{fail};
            $frame->{payload} = $do->{payload} if exists $do->{payload};
            return { answer => $do->{answer} } if exists $do->{answer};
            return { error => $do->{error} } if exists $do->{error};
            return;
        };
    }
    $hook{ended} = sub ($call) {
        my $key = $call->{notes}{"$name.end"};
        append($key, "$name.end") if defined $key;
    };
    $rpc->use(\%hook);
}

# --- the life of the target

my %connection = (framing => $config{FRAMING});
if ($config{TRANSPORT} eq 'stdio') {
    my $start = $config{ROLE} eq 'acceptor' ? 'accept' : 'handshake';
    $rpc->$start(%connection, in => \*STDIN, out => \*STDOUT, on_gone => sub { $loop->stop });
}
else {
    # Standard input is there to end.
    $loop->watch(read => \*STDIN, sub { $loop->stop if !sysread STDIN, my $ignored, 4096 });
    $config{ROLE} eq 'acceptor' ? listen_for_peers() : dial();
}
$loop->run;
exit 0;

sub serve_socket ($socket, $start, $on_end = undef) {
    $socket->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    $rpc->$start(%connection, in => $socket, out => $socket, on_end => $on_end);
    return;
}

sub listen_for_peers () {
    my $listener = IO::Socket::INET->new(
        LocalAddr => $config{LISTEN}, Proto => 'tcp', Listen => 128, ReuseAddr => 1, Blocking => 0,
    ) or die "cannot listen on $config{LISTEN}: $@\n";
    $loop->watch(read => $listener, sub {
        while (my $socket = $listener->accept) { serve_socket($socket, 'accept') }
    });
    STDOUT->autoflush(1);
    say 'listening ', $listener->sockhost, ':', $listener->sockport;
    return;
}

# One session at a time; the next begins when the last has ended in any way.
sub dial () {
    my $socket = IO::Socket::INET->new(PeerAddr => $config{CONNECT}, Proto => 'tcp')
        or return $loop->stop;
    serve_socket($socket, 'handshake', sub { $loop->defer(\&dial) });
    return;
}
