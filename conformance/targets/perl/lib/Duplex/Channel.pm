package Duplex::Channel;

# One call, seen from one of its sides. What comes in from the other side waits
# in a queue until somebody asks for it; the two classes below add the
# provider's and the caller's way of sending.
#
# There are no threads, so that recv() takes a continuation: the code that goes
# on with the next event. It is given a kind and a value:
#
#   item    the next item
#   end     the normal end
#   error   an error of the other side: { code, message, data }
#   failed  a local error, by its name: closed, bad reply, …

use v5.36;

sub new ($class, %args) {
    return bless { queue => [], ext => undef, %args }, $class;
}

sub peer ($self)   { return $self->{peer} }
sub method ($self) { return $self->{method} }
sub ext ($self)    { return $self->{ext} }

# Runs $code with the next event. The last one is given again and again.
sub recv ($self, $code) {
    $self->{waiter} = $code;
    $self->_pump;
    return;
}

sub unread ($self) { return scalar $self->{queue}->@* }

# An event for whoever reads; $size is what it counts of the connection's unread bytes.
sub _deliver ($self, $kind, $value, $size = 0) {
    return if $self->{ended};
    $self->{ended} = [ $kind, $value ] if $kind ne 'item';
    push $self->{queue}->@*, [ $kind, $value, $size ] if $kind eq 'item';
    $self->{peer}{unread_bytes} += $size;
    $self->_pump;
    return;
}

# Hands events to continuations for as long as there are both. A continuation
# that asks for the next event only leaves itself here: no recursion.
sub _pump ($self) {
    return if $self->{pumping};
    local $self->{pumping} = 1;
    while ($self->{waiter} && ($self->{queue}->@* || $self->{ended})) {
        my $code = delete $self->{waiter};
        my ($kind, $value, $size) = @{ shift $self->{queue}->@* // $self->{ended} };
        $self->{peer}{unread_bytes} -= $size // 0;
        $self->guard(sub { $code->($kind, $value) });
    }
    return;
}

# Nobody reads any more.
sub _drop_queue ($self) {
    $self->{peer}{unread_bytes} -= $_->[2] for $self->{queue}->@*;
    $self->{queue} = [];
    delete $self->{waiter};
    return;
}

# Whether two values are written alike.
sub same ($one, $other) {
    return !defined $one && !defined $other if !defined $one || !defined $other;
    return 0 if ref $one ne ref $other;
    return @$one == @$other && !grep { !same($one->[$_], $other->[$_]) } 0 .. $#$one if ref $one eq 'ARRAY';
    return keys %$one == keys %$other && !grep { !exists $other->{$_} || !same($one->{$_}, $other->{$_}) } keys %$one
        if ref $one eq 'HASH';
    return $one eq $other;
}

# A copy of a value that shares nothing with it.
sub copy ($value) {
    return [ map { copy($_) } @$value ] if ref $value eq 'ARRAY';
    return { map { $_ => copy($value->{$_}) } keys %$value } if ref $value eq 'HASH';
    return $value;
}


package Duplex::Incoming {

# The provider's side of a call. A notification is one, too, without an id:
# what its handler sends goes nowhere.
#
# $self->{args_open} and $self->{reply_open} are the two sides of the call;
# $self->{running} is whether its handler still has something to do.

use v5.36;
no warnings 'experimental::builtin';
use builtin qw(true false);
use parent -norequire, 'Duplex::Channel';

sub new ($class, %args) {
    return $class->SUPER::new(reply_open => 1, %args);
}

# --- for handlers

# Sends an item, and more will follow.
sub send ($self, $payload) {
    $self->{streamed} = 1;
    return $self->_reply(payload => $payload, more => true);
}

# Sends an item on the last frame; for a single value this is the result.
sub send_last ($self, $payload) {
    $self->{running} = 0;
    return $self->_reply(payload => $payload);
}

# Ends without an item.
sub finish ($self) {
    $self->{running} = 0;
    return $self->_reply(payload => undef, end => true);
}

sub send_err ($self, $code, $message, $data = undef) {
    $self->{running} = 0;
    return $self->_reply(error => { code => $code, message => $message, defined $data ? (data => $data) : () });
}

# The handler has nothing more to do. If it has not replied, somebody has to;
# unless the connection ended, and with it the interest in a reply.
sub done ($self) {
    if ($self->{closed}) { $self->{running} = 0; $self->{reply_open} = 0; return $self->_settle }
    return $self->{streamed} ? $self->finish : $self->send_err(-32603, 'internal error');
}

# Runs $code when the connection ends before the handler has.
sub on_close ($self, $code) { $self->{on_close} = $code; return }

# Calls back on the same connection; the nested call inherits this one's ext.
sub open ($self, $method, %options) {
    my $ext = Duplex::Channel::copy($self->{ext});
    $ext = { %{ $ext // {} }, %{ $options{ext} } } if $options{ext};
    return $self->{peer}->open($method, %options, ext => $ext);
}

sub notify ($self, $method, $payload, %options) {
    return $self->open($method, %options, notify => 1)->send_last($payload);
}

# Runs a part of the handler: whatever it raises becomes the call's error.
sub guard ($self, $code) {
    return if eval { $code->(); 1 };
    my $raised = $@;
    return $self->send_err($raised->@{qw(code message data)}) if ref $raised && eval { $raised->isa('Duplex::Error') };
    Duplex::complain("the handler of $self->{method} failed: $raised");
    return $self->send_err(-32603, 'internal error');
}

# --- for the peer

# Sends one reply frame, through the hooks that stand before number $from.
sub _reply ($self, %reply) {
    my $from = delete $reply{from};
    return $self->_settle if !$self->{reply_open};
    return 0 if $self->{peer}->is_closed;
    my $terminal = !$reply{more};
    $self->{reply_open} = 0 if $terminal;
    if (defined $self->{id}) {
        my $frame = { %reply, kind => 'reply', call => $self, method => $self->{method}, ext => Duplex::Channel::copy($self->{ext}) };
        my $said = $self->{peer}->run_hooks('outbound_reply', $frame, $from);
        if ($said || $frame->{taken}) {
            # A hook that answers or fails here ends the call.
            $self->{reply_open} = 0;
            $terminal = 1;
        }
        if ($said) {
            delete $frame->@{qw(payload more end)};
            $frame->{error} = { code => -32603, message => 'internal error' };
        }
        my $message = { type => 'rep', id => $self->{id} };
        $message->{ext} = $frame->{ext} if defined $frame->{ext};
        if ($frame->{error}) { $message->{error} = $frame->{error} }
        else {
            $message->{payload} = $frame->{end} ? undef : $frame->{payload};
            $message->{end}  = true if $frame->{end};
            $message->{more} = $terminal ? false : true;
        }
        if (!$self->{peer}->send_message($message)) {
            # It cannot be encoded, or does not fit a frame.
            $self->{reply_open} = 0;
            $terminal = 1;
            delete $message->@{qw(payload end more)};
            $message->{error} = { code => -32603, message => 'internal error' };
            $self->{peer}->send_message($message);
        }
    }
    $self->_settle if $terminal;
    return !$terminal;
}

# Forgets what both sides and the handler are done with.
sub _settle ($self) {
    if (!$self->{running}) {
        $self->_drop_queue;
        delete $self->{on_close};
    }
    $self->{peer}->settle($self);
    return 0;
}

# The peer ends the call; its handler learns of it where it reads. The error
# passes the hooks before number $from: none of them with 0, all without.
sub _refuse ($self, $code, $message, $from = undef) {
    return $self->_reply(error => { code => $code, message => $message }, from => $from);
}

}


package Duplex::Outgoing {

# The caller's side of a call. Nothing is sent before the first item, and an id
# is given with the first frame.

use v5.36;
no warnings 'experimental::builtin';
use builtin qw(true false is_bool created_as_number);
use parent -norequire, 'Duplex::Channel';

sub new ($class, %args) {
    return $class->SUPER::new(args_open => 1, reply_open => 1, %args);
}

# Sends an item, and more will follow. These give whether it went out.
sub send ($self, $payload)      { return $self->_request(payload => $payload, more => true) }
sub send_last ($self, $payload) { return $self->_request(payload => $payload) }
sub finish ($self)              { return $self->_request(payload => undef, end => true) }

# The arguments cannot be finished: the other side learns that they are not whole.
sub abort ($self, $code = -32004, $message = 'aborted') {
    # What was never begun needs no frame.
    return $self->_fail('aborted') if !defined $self->{id};
    return $self->_request(payload => undef, error => { code => $code, message => $message });
}

# Calls with a single value: $code is given the one that comes back as an item,
# an itemless end as undef, and anything else as the failure that it is.
sub result ($self, $payload, $code) {
    my @items;
    $self->recv(sub ($kind, $value) {
        if ($kind eq 'item') { push @items, $value; return $self->recv(__SUB__) }
        return $code->($kind, $value) if $kind ne 'end';
        return $code->(failed => 'a stream') if @items > 1;
        return $code->(item => $items[0]);
    });
    return $self->send_last($payload);
}

# The newest ext of the replies.
sub reply_ext ($self) { return $self->{reply_ext} }

# What reads an outgoing call is a part of some handler, which guards itself.
sub guard ($self, $code) {
    return if eval { $code->(); 1 };
    Duplex::complain("a continuation of a call to $self->{method} failed: $@");
    return;
}

sub _request ($self, %request) {
    return 0 if !$self->{args_open};
    if ($self->{peer}->is_ending) {
        $self->{args_open} = 0;
        $self->_deliver(failed => 'closed');
        return 0;
    }
    my $first = !$self->{begun}++;
    my $last  = !$request{more};
    # Hooks are shown the channel's ext on every frame; on the wire it is repeated only if one of them changed it.
    my $shown = Duplex::Channel::copy($self->{ext});
    my $frame = { %request, kind => 'request', call => $self, method => $self->{method}, first => $first, ext => Duplex::Channel::copy($shown) };
    my $said = $self->{peer}->run_hooks('outbound_request', $frame);
    if ($said && $self->{reply_open}) {
        $self->_abort_frame if !$first;
        $self->{args_open} = 0;
        return $self->_fail('hook') if $said->{failed};
        return $self->_received({ payload => $said->{answer}, error => $said->{error} }, 0, $said->{at});
    }
    my $message = { type => 'req', method => $self->{method} };
    $message->{payload} = $frame->{end} || $frame->{error} ? undef : $frame->{payload};
    $message->{ext}   = $frame->{ext} if defined $frame->{ext} && ($first || !Duplex::Channel::same($frame->{ext}, $shown));
    $message->{end}   = true if $frame->{end};
    $message->{error} = $frame->{error} if $frame->{error};
    $message->{more}  = $last ? false : true if !($first && $last) || $frame->{end};
    $message->{id}    = $self->{id} // $self->{peer}->begin($self) if !$self->{notify};
    if (!$self->{peer}->send_message($message)) {
        $self->_abort_frame if !$first;
        $self->{args_open} = 0;
        return $self->_fail('too large');
    }
    $self->{args_open} = 0 if $last;
    if ($self->{notify}) {
        $self->_deliver(end => undef);
        $self->{peer}->tell($self);
    }
    $self->_settle;
    return 1;
}

# The last frame of arguments that are given up, whatever hooks say to it.
sub _abort_frame ($self) {
    return if !$self->{args_open} || !defined $self->{id};
    $self->{args_open} = 0;
    my $frame = {
        kind  => 'request', call => $self, method => $self->{method}, payload => undef,
        error => { code => -32004, message => 'aborted' },
    };
    $self->{peer}->run_hooks('outbound_request', $frame);
    $self->{peer}->send_message({
        type => 'req', id => $self->{id}, method => $self->{method}, payload => undef,
        error => $frame->{error}, more => false, defined $frame->{ext} ? (ext => $frame->{ext}) : (),
    });
    return;
}

# A local error ends the call; arguments that are open are aborted.
sub _fail ($self, $name) {
    $self->{reply_open} = 0;
    $self->_abort_frame;
    $self->{args_open} = 0;
    $self->_settle;
    $self->_deliver(failed => $name);
    return 0;
}

# A reply to this call, from the wire or from hook number $from.
sub _received ($self, $reply, $size, $from = undef) {
    my $error = $reply->{error};
    return $self->_fail('bad reply') if defined $error && !_is_error($error);
    return $self->_fail('bad reply') if !defined $error && defined $reply->{more} && !is_bool($reply->{more});

    my $more = !$error && $reply->{more};
    my $end  = !$error && !$more && !defined $reply->{payload} && is_bool($reply->{end}) && $reply->{end};
    my $last = !$more;    # whatever hooks make of it
    my $frame = {
        kind => 'reply', call => $self, method => $self->{method}, payload => $reply->{payload}, error => $error,
        more => $more, end => $end, ext => ref $reply->{ext} eq 'HASH' ? $reply->{ext} : undef,
    };
    if (my $said = $self->{peer}->run_hooks('inbound_reply', $frame, $from)) {
        $self->{reply_ext} = $frame->{ext} // $self->{reply_ext};
        $self->_end_args($last);
        return $self->_fail('hook');
    }
    ($error, $more, $end) = ($frame->{error}, 0, 0) if $frame->{taken};
    $self->{reply_ext} = $frame->{ext} // $self->{reply_ext};

    if ($more) {
        my $limits = $self->{peer}->limits;
        return $self->_fail('overflow')
            if !$self->{waiter} && ($self->unread >= $limits->{buffered_items}
                || $self->{peer}{unread_bytes} + $size > $limits->{buffered_bytes});
        return $self->_deliver(item => $frame->{payload}, $size);
    }
    $self->{reply_open} = 0;
    $self->_end_args($last);
    $self->_settle;
    return $self->_deliver(error => { map { $_ => $error->{$_} } grep { exists $error->{$_} } qw(code message data) })
        if $error;
    $self->_deliver(item => $frame->{payload}, $size) if !$end;
    $self->_deliver(end => undef);
    return 0;
}

# The call is over: what is left of the arguments nobody wants. They end, if the provider has sent its last reply, or are aborted.
sub _end_args ($self, $last) {
    if   ($last) { $self->_request(payload => undef, end => true) if $self->{args_open} }
    else         { $self->_abort_frame }
    $self->{args_open} = 0;
    return;
}

sub _settle ($self) {
    $self->{peer}->tell($self) if !$self->{reply_open};
    $self->{peer}->forget($self) if !$self->{args_open} && !$self->{reply_open};
    return;
}

sub _is_error ($error) {
    my ($code, $message) = ref $error eq 'HASH' ? $error->@{qw(code message)} : ();
    return defined $code && !ref $code && created_as_number($code) && $code == int $code
        && defined $message && !ref $message && !is_bool($message) && !created_as_number($message);
}

}

1;
