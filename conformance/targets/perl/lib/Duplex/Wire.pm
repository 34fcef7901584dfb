package Duplex::Wire;

# Frames over a byte stream: both framings, non-blocking in both directions.
# It knows nothing of what the frames hold.

use v5.36;
use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Handle;

use constant {
    READ_SIZE => 65_536,
    # How long input is discarded after this side has ended. A socket that is
    # closed with unread input resets the connection, and what was written
    # last can get lost on the way.
    LINGER => 1,
};

# Callbacks: on_frame(bytes), never for an empty frame; on_oversize(), once a
# frame is over the limit; on_end(broken), the end of the input, or of all of
# it; on_drain(), when everything is
# written; on_gone(), when nothing is left of the handles.
sub new ($class, %args) {
    my $self = bless {
        in_buffer  => '',
        out_buffer => '',
        scanned    => 0,        # newline framing: where the search goes on
        reading    => 1,
        limit      => 1_048_576,
        %args,                  # loop, in, out, framing, callbacks
    }, $class;
    $_->blocking(0) for $self->{in}, $self->{out};
    binmode $_ for $self->{in}, $self->{out};
    $self->{loop}->watch(read => $self->{in}, sub { $self->_readable });
    return $self;
}

sub limit ($self, $bytes) { $self->{limit} = $bytes; return }

# Bytes that wait to be written.
sub backlog ($self) { return length $self->{out_buffer} }

# Takes a frame; it goes out whole, behind the ones before it.
sub send ($self, $frame) {
    return if $self->{finishing} || $self->{gone};
    $self->{out_buffer} .= $self->{framing} eq 'length' ? pack('N', length $frame) . $frame : "$frame\n";
    return if $self->{flush_due}++;
    $self->{loop}->defer(sub { $self->{flush_due} = 0; $self->_flush });
    return;
}

# Ends this side after what send() took, takes no more frames, and lets go of
# the handles when the other side has ended too.
sub finish ($self) {
    return if $self->{finishing}++;
    $self->_flush;
    return;
}

# Lets go of the handles at once.
sub abandon ($self) {
    return if $self->{gone}++;
    $self->{loop}->cancel($self->{linger});
    $self->{loop}->unwatch(read => $self->{in}) if $self->{reading};
    $self->_stop_writing;
    close $_ for grep { defined fileno $_ } $self->{in}, $self->{out};
    $self->{on_gone}->();
    $self->@{qw(on_frame on_oversize on_end on_gone on_drain)} = ();    # they refer to the peer
    return;
}

sub _readable ($self) {
    my $count = sysread $self->{in}, my $bytes, READ_SIZE;
    if (!defined $count) {
        return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
        return $self->_input_ended(1);
    }
    return $self->_input_ended(0) if !$count;
    return if $self->{finishing};                              # discarded
    $self->{in_buffer} .= $bytes;
    while (!$self->{finishing} && defined(my $frame = $self->_next_frame)) {
        $self->{on_frame}->($frame) if length $frame;          # an empty one is a keepalive
    }
    return;
}

# One whole frame out of the buffer, or nothing.
sub _next_frame ($self) {
    return $self->{framing} eq 'length' ? $self->_next_counted : $self->_next_line;
}

sub _next_counted ($self) {
    return if length $self->{in_buffer} < 4;
    my $length = unpack 'N', $self->{in_buffer};
    return $self->_oversize if $length > $self->{limit};       # before any memory is set aside
    return if length $self->{in_buffer} < 4 + $length;
    my $frame = substr $self->{in_buffer}, 4, $length;
    substr $self->{in_buffer}, 0, 4 + $length, '';
    return $frame;
}

sub _next_line ($self) {
    my $end  = index $self->{in_buffer}, "\n", $self->{scanned};
    my $size = $end < 0 ? length $self->{in_buffer} : $end;
    if ($size > $self->{limit}) {
        # A \r before the line end is not counted, and this may be one.
        return $self->_oversize
            if $size > $self->{limit} + 1 || substr($self->{in_buffer}, $size - 1, 1) ne "\r";
    }
    if ($end < 0) {
        $self->{scanned} = $size;
        return;
    }
    my $frame = substr $self->{in_buffer}, 0, $end;
    substr $self->{in_buffer}, 0, $end + 1, '';
    $self->{scanned} = 0;
    $frame =~ s/\r\z//;
    return $frame;
}

sub _oversize ($self) {
    $self->{on_oversize}->();
    return;
}

sub _input_ended ($self, $broken) {
    $self->{loop}->unwatch(read => $self->{in});
    $self->{reading} = 0;
    # A frame that the end cut short stays in the buffer, and is never decoded.
    return $self->abandon if $broken && $self->{finishing};
    return $self->{ended_side} ? $self->abandon : undef if $self->{finishing};
    $self->{on_end}->($broken);
    return;
}

sub _flush ($self) {
    return if $self->{gone} || $self->{ended_side};
    while (length $self->{out_buffer}) {
        my $count = syswrite $self->{out}, $self->{out_buffer};
        if (defined $count) {
            substr $self->{out_buffer}, 0, $count, '';
            next;
        }
        next if $! == EINTR;
        if ($! == EAGAIN || $! == EWOULDBLOCK) {
            $self->{loop}->watch(write => $self->{out}, sub { $self->_flush }) if !$self->{writing}++;
            return;
        }
        # A write that fails is the end of the connection.
        $self->{out_buffer} = '';
        $self->_stop_writing;
        $self->{on_end}->(1) if !$self->{finishing};
        return $self->abandon;
    }
    $self->_stop_writing;
    $self->{on_drain}->() if $self->{on_drain};
    $self->_end_side if $self->{finishing};
    return;
}

sub _stop_writing ($self) {
    $self->{loop}->unwatch(write => $self->{out}) if delete $self->{writing};
    return;
}

sub _end_side ($self) {
    return if $self->{ended_side}++;
    return $self->abandon if !$self->{reading};
    if (fileno $self->{in} == fileno $self->{out}) { shutdown $self->{out}, 1 }
    else                                           { close $self->{out} }
    $self->{linger} = $self->{loop}->timer(LINGER, sub { $self->abandon });
    return;
}

1;
