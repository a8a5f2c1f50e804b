import sys

print("Hello from Python.")
for n in range(1, 6):
    print(f"{n} squared is {n * n}")
print("This line went to standard error.", file=sys.stderr)
