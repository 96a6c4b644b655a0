"""What the documents assume about a run on AWS. ``make try-aws`` prints each value beside the measured one."""

#: From the creation of the cluster until the job starts.
START_MINUTES = 7
#: Per vCPU of the workers. Two cores of the machine of docs/performance.md computed 120 each.
PHOTOS_PER_SECOND = 90
#: The job on the photos of the demo. Starting Spark takes most of it.
JOB_MINUTES = 1
#: At most, from the end of the job until the state machine terminates the cluster.
TAIL_SECONDS = 15
TERMINATION_MINUTES = 2
