"""The network as a guest sees it: addresses, private names, the loopback inside, and what may be reached outside.

A guest's own calls never carry an address to the kernel.  Whatever names a place (connect, bind, sendto with an
address, sendmsg, whose address lies in memory) is answered: the supervisor copies the address once, judges it, and acts on
its own copy of the socket, which is the same open file.  So nothing outside can be reached by an address that changes
after it was judged, whatever kind of socket it is said on.
"""
