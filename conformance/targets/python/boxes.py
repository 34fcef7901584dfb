"""The two queues of a connection: what came and waits to be read, and what waits to be written. Both are bounded."""
import threading
from collections import deque

OUTBOUND_LIMIT, BUFFERED_BYTES = 16 * 1024 * 1024, 16 * 1024 * 1024  # bytes
BUFFERED_ITEMS = 1024


class Inbox:
    """The items that came for one call and wait to be read, bounded."""

    def __init__(self, connection):
        self.connection, self.items, self.over = connection, deque(), None

    def put(self, item, size):
        """False when there is no room: the connection's lock is held."""
        if self.over or len(self.items) >= BUFFERED_ITEMS or self.connection.buffered + size > BUFFERED_BYTES:
            return bool(self.over)
        self.items.append((item, size))
        self.connection.buffered += size
        self.connection.changed.notify_all()
        return True

    def close(self, over, discard=False):
        self.over = self.over or over
        while discard and self.items:
            self._pop()
        self.connection.changed.notify_all()

    def get(self):
        """The next item. Raises what the stream ended with once there is none."""
        with self.connection.changed:
            with self.connection.waits():
                self.connection.changed.wait_for(lambda: self.items or self.over)
            if self.items:
                return self._pop()
            raise self.over

    def _pop(self):
        item, size = self.items.popleft()
        self.connection.buffered -= size
        return item


class Outbox:
    """The frames that wait to be written, by a thread of their own, so that the reader never waits for a write."""

    def __init__(self, write, failed):
        self.frames, self.size, self.finished, self.changed = deque(), 0, False, threading.Condition()
        self.failed = failed
        self.thread = threading.Thread(target=self._run, args=(write,), daemon=True)
        self.thread.start()

    def put(self, frame):
        with self.changed:
            if self.finished:
                return
            self.frames.append(frame)
            self.size += len(frame)
            self.changed.notify_all()
            flooded = self.size > 2 * OUTBOUND_LIMIT
        if flooded:
            self.failed()  # frames that cannot wait pile up: nobody reads them

    def wait_for_room(self):
        with self.changed:
            self.changed.wait_for(lambda: self.size < OUTBOUND_LIMIT or self.finished)

    def finish(self):
        """Takes no more; what was taken is still written [close.local]."""
        with self.changed:
            self.finished = True
            self.changed.notify_all()

    def _run(self, write):
        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: self.frames or self.finished)
                    if not self.frames:
                        return
                    frame = self.frames.popleft()
                write(frame)
                with self.changed:
                    self.size -= len(frame)
                    self.changed.notify_all()
        except OSError:
            self.finish()
            self.failed()
