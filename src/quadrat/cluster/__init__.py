"""Runs scenes on several machines: an executor for Dask's clusters, and jobs for SLURM and AWS Batch."""
