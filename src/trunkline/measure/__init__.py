"""`trunkline bench`: how fast this queue is here, beside the least that PostgreSQL itself needs for the same work.

```
command                                    flags, the loop over the measures, the exit code
   catalogue                               every measure by name, in the order in which they run
      drain  drain_two  enqueue_bulk  enqueue_single  pickup  sustained  sustained_pinned
      per_job  idle_queries  in_flight_memory  remote_work  room_fanout
      event_latency  fairness  claim_cost                            one measure a file
         working  pairs  floors            drains · interleaved pairs and their ratio · what we compare with
            run  server  machine           sizes and progress · fresh databases · facts about where this ran
            processes ► child ► roles      a process of ours: the parent's end, its own end, what it does
      result  report                       what a measure says, and how it is printed
```

Always true: a ratio compares two things done in turn in one run, the same work on databases made alike; a result says
`verified` only if every job ran exactly once, counted by number, and its outcome is recorded; when a run ends, however it
ends, its processes, databases and temporary server are gone.
Peers are measured in `bench/` of the repository, under the same names.
"""
