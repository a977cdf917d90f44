"""Worker processes and backend choice shared by kubevip's proxies."""
