package Duplex::Peer;

# One connection: the greeting, the two tables of calls, and the end.

use v5.36;
no warnings 'experimental::builtin';
use builtin qw(is_bool created_as_number refaddr);
use Duplex::Channel;

use constant {
    PROTOCOL     => 'SIMPLEX/1.0',
    GREETING_MAX => 32,
    ANSWER_MAX   => 1024,
    MAX_ID       => 2**53 - 1,
    DRAINING     => 'draining',    # in the table of incoming calls, all that is left of one
};

# The states: greeting, open, half (the input has ended), closed.
sub new ($class, %args) {
    return bless {
        state        => 'greeting',
        incoming     => {},     # id => Duplex::Incoming, or DRAINING
        active       => {},     # those with a reply due or a handler that runs, notifications included
        draining     => 0,
        outgoing     => {},     # id => Duplex::Outgoing
        last_id      => 0,
        callbacks    => {},     # name => handler
        unread_bytes => 0,
        %args,                  # rpc, loop, wire, initiator, hooks, on_end
    }, $class;
}

sub limits ($self)    { return $self->{rpc}{limits} }
sub is_closed ($self) { return $self->{state} eq 'closed' }
# Whether no reply can come any more.
sub is_ending ($self) { return $self->{state} ne 'open' }

# --- for users

# A channel to call with: nothing is sent yet. Options: ext, notify.
sub open ($self, $method, %options) {
    return Duplex::Outgoing->new(peer => $self, method => $method, %options);
}

# A callback for this connection: gives its name.
sub callback ($self, $handler) {
    my @bytes = unpack 'C16', $self->{rpc}->random(16);
    $bytes[6] = $bytes[6] & 0x0f | 0x40;
    $bytes[8] = $bytes[8] & 0x3f | 0x80;
    my $name = sprintf '_callback.' . join('-', map { '%02x' x $_ } 4, 2, 2, 2, 6), @bytes;
    $self->{callbacks}{$name} = $handler;
    return $name;
}

sub release ($self, $name) {
    delete $self->{callbacks}{$name};
    return;
}

# Ends the connection from this side, at any time and any number of times.
sub close ($self) {
    $self->_end;
    return;
}

# Whether a producer may go on. If not, when_writable() says when.
sub is_writable ($self) { return $self->{wire}->backlog < 262_144 }

sub when_writable ($self, $code) {
    push $self->{drained}->@*, $code;
    return;
}

# What this connection holds.
sub counts ($self) {
    return {
        incoming  => scalar keys $self->{incoming}->%*,
        outgoing  => scalar keys $self->{outgoing}->%*,
        handlers  => scalar(grep { $_->{running} } values $self->{active}->%*),
        callbacks => scalar keys $self->{callbacks}->%*,
    };
}

# --- the wire

sub start ($self) {
    my $limits = $self->limits;
    $self->{wire}->limit($self->{initiator} ? ANSWER_MAX : GREETING_MAX);
    $self->{wire}->send(PROTOCOL . ';' . $self->{rpc}{codec}->NAME) if $self->{initiator};
    $self->{greeting_timer} = $self->{loop}->timer($limits->{greeting_time}, sub { $self->_end });
    return;
}

sub on_frame ($self, $frame) {
    return if $self->{state} eq 'closed';
    return $self->_greeted($frame) if $self->{state} eq 'greeting';
    my ($message, $sizes) = eval { $self->{rpc}{codec}->can('decode')->($frame, $self->limits->{depth}) };
    return $self->_end if $@ || ref $message ne 'HASH';        # undecodable
    my $type = $message->{type};
    return if !_is_string($type);
    $message->{ext} = undef if ref $message->{ext} ne 'HASH';
    my $ext_size = defined $message->{ext} ? $sizes->{ext} : 0;
    if    ($type eq 'req') { $self->_request($message, length $frame, $ext_size > $self->limits->{ext}) }
    elsif ($type eq 'rep') {
        $message->{ext} = undef if $ext_size > $self->limits->{ext};
        my $call = _is_id($message->{id}) ? $self->{outgoing}{ $message->{id} } : undef;
        $call->_received($message, length $frame) if $call && $call->{reply_open};
    }
    return;
}

sub on_oversize ($self) {
    return $self->_refuse('too long') if $self->{state} eq 'greeting' && !$self->{initiator};
    return $self->_end;
}

# The input has ended: no argument and no reply will come any more. Calls whose
# arguments are complete are still answered, for a while; only then are their
# handlers told of the end.
sub on_input_end ($self, $broken) {
    return if $self->{state} eq 'closed';
    return $self->_end($broken) if $broken || $self->{state} ne 'open';
    $self->{state} = 'half';
    $self->_tell_end;
    return if $self->_end_if_done;
    $self->{closing_timer} = $self->{loop}->timer($self->limits->{closing_time}, sub { $self->_end });
    return;
}

sub on_drain ($self) {
    my $waiting = delete $self->{drained} or return;
    $_->() for @$waiting;
    return;
}

# Gives whether the message could be encoded and fits a frame.
sub send_message ($self, $message) {
    return 1 if $self->{state} eq 'closed';                    # it vanishes
    my $frame = eval { $self->{rpc}{codec}->can('encode')->($message) };
    return 0 if !defined $frame || length $frame > $self->limits->{frame};
    $self->{wire}->send($frame);
    $self->_end(1) if $self->{wire}->backlog > $self->limits->{outbound_bytes};
    return 1;
}

# --- the greeting

sub _greeted ($self, $frame) {
    if ($self->{initiator}) {
        return $self->_open if $frame =~ /\A\+/;
        Duplex::complain("refused: $frame");
        return $self->_end;
    }
    # The name and the version are compared first, so that a refusal names the reason.
    return $self->_refuse('malformed greeting') if $frame !~ /\A[\x20-\x7e]*\z/;
    my ($protocol, $codec) = split /;/, $frame, -1;
    return $self->_refuse('unknown protocol or version') if ($protocol // '') ne PROTOCOL;
    return $self->_refuse('malformed greeting') if ($codec // '') !~ /\A[a-z0-9][a-z0-9._-]*\z/;
    return $self->_refuse('unknown codec') if $codec ne $self->{rpc}{codec}->NAME;
    $self->{wire}->send('+OK');
    return $self->_open;
}

sub _open ($self) {
    $self->{loop}->cancel($self->{greeting_timer});
    $self->{state} = 'open';
    $self->{wire}->limit($self->limits->{frame});
    return;
}

sub _refuse ($self, $reason) {
    $self->{wire}->send("-ERR $reason");
    return $self->_end;
}

# --- calls that this peer serves

# The provider's table of states: an id is unknown, open (its arguments are
# under way), complete (its reply is due), or draining.
sub _request ($self, $m, $size, $ext_too_large) {
    my $id = $m->{id};
    my $is_id = _is_id($id);
    return if !$is_id && defined $id && !(_is_number($id) && $id == 0);

    my $more_ok = !defined $m->{more} || is_bool($m->{more});
    my $more    = $more_ok && $m->{more};
    my $call    = $is_id ? $self->{incoming}{$id} : undef;

    if ($call) {
        my $aborts = defined $m->{error};
        my $last   = $aborts || $more_ok && !$more;            # an invalid `more` says nothing about the end
        if (!ref $call) {
            # Draining: everything is discarded, up to the last frame.
            return if !$last;
            delete $self->{incoming}{$id};
            $self->{draining}--;
            return;
        }
        return if !$call->{args_open};                         # a duplicate in flight
        $m->{ext} = undef if $aborts && $ext_too_large;        # an abort is heard all the same
        if (!$aborts && ($ext_too_large || !$more_ok)) {
            $call->{args_open} = 0 if $last;
            $call->_refuse(-32600, 'invalid request', 0);
            return $call->_deliver(failed => 'invalid request');
        }
        return $self->_argument($call, $m, $size, $last);
    }

    if (!_is_string($m->{method}) || !$more_ok || $ext_too_large) {
        return $self->_refuse_new($id, $more || !$more_ok, -32600, 'invalid request');
    }
    return if !$is_id && $more;                                # a notification is one frame
    if (keys $self->{active}->%* >= $self->limits->{open_calls}) {
        return $self->_refuse_new($id, $more, -32000, 'too many open calls');
    }
    $call = Duplex::Incoming->new(
        peer => $self, id => $is_id ? $id : undef, method => $m->{method}, args_open => 1,
    );
    $self->{active}{ refaddr $call } = $call;
    $self->{incoming}{$id} = $call if $is_id;
    delete $m->{error};                                        # it means nothing on a first frame
    return $self->_argument($call, $m, $size, !$more, 1);
}

# A refusal that passes no hook and starts nothing.
sub _refuse_new ($self, $id, $more, $code, $message) {
    return if !_is_id($id);
    $self->send_message({ type => 'rep', id => $id, error => { code => $code, message => $message } });
    $self->_drain($id) if $more;
    return;
}

# A valid frame of an open call: hooks, then the lookup, then the handler.
sub _argument ($self, $call, $m, $size, $last, $first = 0) {
    my $error = $m->{error};
    my $end = !$error && $last && !defined $m->{payload} && is_bool($m->{end}) && $m->{end};
    my $frame = {
        kind => 'request', call => $call, method => $call->method, payload => $m->{payload}, first => $first,
        error => $error, end => $end, ext => $m->{ext} // Duplex::Channel::copy($call->ext),
    };
    $call->{args_open} = 0 if $last;
    my $said = $self->run_hooks('inbound_request', $frame);
    $call->{ext} = $frame->{ext};
    if ($said) {
        if    ($said->{failed}) { $call->_refuse(-32603, 'internal error', $said->{at}) }
        elsif ($said->{error})  { $call->_reply(error => $said->{error}, from => $said->{at}) }
        else                    { $call->_reply(payload => $said->{answer}, from => $said->{at}) }
        return $call->_deliver(failed => 'hook');              # behind the reply, which is the one that counts
    }
    my $handler;
    if ($first) {
        my $method = $call->method;
        $handler = $self->{callbacks}{$method} // $self->{rpc}{methods}{$method};
        return $call->_refuse(-32601, 'method not found') if !$handler;
        $call->{running} = 1;
    }
    if (!$error && !$end) {
        my $limits = $self->limits;
        if (!$call->{waiter} && ($call->unread >= $limits->{buffered_items}
                || $self->{unread_bytes} + $size > $limits->{buffered_bytes})) {
            $call->_refuse(-32001, 'too many unread items', 0);
            return $call->_deliver(failed => 'overflow');
        }
        $call->_deliver(item => $frame->{payload}, $size);
    }
    if ($error)   { $call->_deliver(error => _known($error)) }
    elsif ($last) { $call->_deliver(end => undef) }
    $call->guard(sub { $handler->($call) }) if $handler;
    return;
}

# What is known of an error.
sub _known ($error) {
    return { code => -32600, message => 'malformed error' } if ref $error ne 'HASH';
    return { map { $_ => $error->{$_} } grep { exists $error->{$_} } qw(code message data) };
}

# A call changed: forgets what is over.
sub settle ($self, $call) {
    return if $call->{reply_open};
    $self->tell($call);
    my $id = $call->{id};
    if (defined $id && ref $self->{incoming}{$id} && $self->{incoming}{$id} == $call) {
        delete $self->{incoming}{$id};
        $self->_drain($id) if $call->{args_open} && $self->{state} eq 'open';
    }
    $call->{args_open} = 0;
    delete $self->{active}{ refaddr $call } if !$call->{running};
    $self->_end_if_done;
    return;
}

sub _drain ($self, $id) {
    $self->{incoming}{$id} = DRAINING;
    $self->_end if ++$self->{draining} > $self->limits->{draining_ids};
    return;
}

# --- calls that this peer makes

sub begin ($self, $call) {
    my $id = $call->{id} = ++$self->{last_id};
    $self->{outgoing}{$id} = $call;
    return $id;
}

sub forget ($self, $call) {
    delete $self->{outgoing}{ $call->{id} } if defined $call->{id};
    return;
}

# --- hooks

# Passes a frame through the hooks of a point: requests in list order, replies
# in reverse, from below number $from on. Gives nothing if all of them let it
# go on; otherwise who stopped it (at), and { answer }, { error } or { failed }.
# What a hook says of a reply takes the reply's place in the frame, is seen by
# the hooks that follow, and is terminal ({taken}).
sub run_hooks ($self, $point, $frame, $from = undef) {
    my $hooks = $self->{hooks};
    my @order = 0 .. $#$hooks;
    @order = reverse grep { !defined $from || $_ < $from } @order if $frame->{kind} eq 'reply';
    for my $at (@order) {
        $frame->{call}{seen} = $at + 1 if $frame->{first};
        my $code = $hooks->[$at]{$point} or next;
        my $said;
        if (!eval { $said = $code->($frame); 1 }) {
            Duplex::complain("a hook failed at $point: $@");
            return { failed => 1, at => $at };
        }
        return { %$said, at => $at } if $said && $frame->{kind} eq 'request';
        next if !$said;
        delete $frame->@{qw(payload error more end)};
        $frame->{taken} = 1;
        if ($said->{error}) { $frame->{error} = $said->{error} } else { $frame->{payload} = $said->{answer} }
    }
    return;
}

# Tells the hooks that saw the first frame of a call its end, once.
sub tell ($self, $call) {
    return if $call->{told}++;
    for my $hook (reverse $self->{hooks}->@[ 0 .. ($call->{seen} // 0) - 1 ]) {
        my $code = $hook->{ended} or next;
        Duplex::complain("a hook failed at the end of a call: $@") if !eval { $code->($call); 1 };
    }
    return;
}

# --- the end

# Fails what waits for the other side. When $over, no reply can be sent either,
# and the handlers that still run are told.
sub _tell_end ($self, $over = 0) {
    my @outgoing = sort { $a->{id} <=> $b->{id} } values $self->{outgoing}->%*;
    $self->{outgoing} = {};
    for my $call (@outgoing) {
        $call->{args_open} = $call->{reply_open} = 0;
        $self->tell($call);
        $call->_deliver(failed => 'closed');
    }
    my @active = values $self->{active}->%*;
    for my $call (@active) {
        my $cut_short = delete $call->{args_open};
        $call->{closed} = 1 if $over || $cut_short;            # nobody waits for its reply
        $call->{reply_open} = 0 if $cut_short;
        $call->_deliver(failed => 'closed') if $cut_short;
        my $code = $call->{closed} && delete $call->{on_close};
        $call->guard($code) if $code;
        $call->_settle;
    }
    return;
}

# After the end of the input: ends the connection once everything is answered.
sub _end_if_done ($self) {
    return 0 if $self->{state} ne 'half' || $self->{active}->%*;
    $self->_end;
    return 1;
}

# What was sent before is written, unless the connection is broken.
sub _end ($self, $broken = 0) {
    return if $self->{state} eq 'closed';
    $self->{state} = 'closed';
    $self->{loop}->cancel($self->{$_}) for qw(greeting_timer closing_timer);
    $self->_tell_end(1);
    $self->tell($_) for values $self->{active}->%*;
    my $wire = $self->{wire};
    my $on_end = $self->{on_end};
    $self->@{qw(incoming active callbacks)} = ({}, {}, {});
    delete $self->@{qw(drained on_end)};
    $broken ? $wire->abandon : $wire->finish;
    $on_end->($self);
    return;
}

sub _is_string ($value) {
    return defined $value && !ref $value && !is_bool($value) && !created_as_number($value);
}

sub _is_number ($value) {
    return defined $value && !ref $value && created_as_number($value);
}

sub _is_id ($value) {
    return _is_number($value) && $value >= 1 && $value <= MAX_ID && $value == int $value;
}

1;
