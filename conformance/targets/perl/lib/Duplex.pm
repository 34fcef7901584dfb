package Duplex;

# Duplex RPC in plain Perl: what a program offers (methods, hooks, limits), and
# how it gets connections.
#
#   my $rpc = Duplex->new(loop => $loop);
#   $rpc->register_func(add => sub ($pair, $channel) { $pair->[0] + $pair->[1] });
#   $rpc->accept(in => $socket, out => $socket, framing => 'length', on_end => …);

use v5.36;
use Duplex::JSON;
use Duplex::Loop;
use Duplex::Peer;
use Duplex::Wire;

use constant LIMITS => {
    frame          => 1_048_576,
    open_calls     => 256,
    buffered_items => 1024,
    buffered_bytes => 4_194_304,
    draining_ids   => 1024,
    ext            => 8192,
    depth          => 128,
    outbound_bytes => 67_108_864,
    greeting_time  => 10,
    closing_time   => 1,
};

sub new ($class, %args) {
    return bless {
        codec   => 'Duplex::JSON',
        methods => {},
        hooks   => [],
        peers   => {},
        %args,                                                 # loop
        limits  => { LIMITS->%*, %{ $args{limits} // {} } },
    }, $class;
}

sub limits ($self) { return $self->{limits} }

# A handler of a channel: it reads and writes the channel itself, and is done
# when it has sent a last frame, or calls done().
sub register ($self, $name, $handler) {
    Duplex::Error->throw(-32602, "the name $name is reserved") if $name =~ /\A_callback\./;
    $self->{methods}{$name} = $handler;
    return;
}

# A function of a payload and the channel, whose value is the result.
sub register_func ($self, $name, $function) {
    return $self->register($name, func($function));
}

# The handler that a function makes.
sub func ($function) {
    return sub ($channel) {
        $channel->recv(sub ($kind, $value) {
            return $channel->done if $kind eq 'failed' || $kind eq 'error';
            $channel->send_last($function->($value, $channel));    # an end without an item is null
        });
    };
}

sub unregister ($self, $name) {
    delete $self->{methods}{$name};
    return;
}

# Adds hooks, by point: { inbound_request => sub ($frame) { … }, … }. A hook
# changes the frame, and gives nothing to let it go on, { answer => … } or
# { error => { … } } to stop it.
sub use ($self, $hooks) {
    push $self->{hooks}->@*, $hooks;
    return;
}

# Both take in, out, framing, and on_end(peer): the connection is over;
# on_gone(): its handles are closed.
sub accept ($self, %args)    { return $self->_connect(%args, initiator => 0) }
sub handshake ($self, %args) { return $self->_connect(%args, initiator => 1) }

sub connections ($self) { return scalar keys $self->{peers}->%* }

sub _connect ($self, %args) {
    my $peer = Duplex::Peer->new(
        rpc => $self, loop => $self->{loop}, initiator => $args{initiator}, hooks => [ $self->{hooks}->@* ],
        on_end => sub ($peer) {
            delete $self->{peers}{$peer};
            $args{on_end}->() if $args{on_end};
        },
    );
    $self->{peers}{$peer} = $peer;
    $peer->{wire} = Duplex::Wire->new(
        loop => $self->{loop}, in => $args{in}, out => $args{out}, framing => $args{framing},
        on_frame    => sub ($frame)  { $peer->on_frame($frame) },
        on_oversize => sub           { $peer->on_oversize },
        on_end      => sub ($broken) { $peer->on_input_end($broken) },
        on_drain    => sub           { $peer->on_drain },
        on_gone     => $args{on_gone} // sub { },
    );
    $peer->start;
    return $peer;
}

# Bytes from a source that is fit for secrets.
sub random ($self, $count) {
    open my $source, '<:raw', '/dev/urandom' or die "no /dev/urandom: $!\n";
    read($source, my $bytes, $count) == $count or die "no random bytes\n";
    return $bytes;
}

# For people, on standard error: what the other side sent may hold anything.
sub complain ($text) {
    $text =~ s/\s+\z//;
    $text =~ s/([^\x20-\x7e])/sprintf '\\x{%x}', ord $1/ge;
    say STDERR "duplex: $text";
    return;
}


package Duplex::Error;

# An error of a handler's own choice.

use v5.36;

sub throw ($class, $code, $message, $data = undef) {
    die bless { code => $code, message => $message, data => $data }, $class;
}

1;
