"""Several real hosts on one machine: a network, hosts with engines and stacks of their own, and services they share."""
