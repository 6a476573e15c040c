"""Who belongs to the cluster, who owns which partition, and how that changes."""
