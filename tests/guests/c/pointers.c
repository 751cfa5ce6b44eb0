/*
 * Every call of the table, with every argument in turn a bad pointer.
 *
 *   pointers all        each number and argument, in a forked child each; the survivors are counted
 *   pointers compare    a selection, one line per result, to be held against a native run
 *
 * A signature has one letter per argument: p path, x attribute name, b buffer, s structure, f descriptor,
 * d dirfd, n size; a digit is itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"

struct call {
	int number;
	const char *signature;
};

static const struct call calls[] = {
	{0, "fbn"}, {1, "fbn"}, {2, "p00"}, {4, "ps"}, {5, "fs"}, {6, "ps"}, {7, "sn0"}, {13, "nss8"}, {14, "0ss8"},
	{16, "f0s"}, {17, "fbn0"}, {18, "fbn0"}, {19, "fsn"}, {20, "fsn"}, {21, "p0"}, {22, "s"}, {23, "nssss"},
	{27, "bns"}, {35, "ss"}, {36, "0s"}, {38, "0ss"}, {40, "ffsn"}, {53, "010s"}, {59, "pss"}, {61, "0s0s"},
	{63, "s"}, {72, "f0s"}, {76, "p0"}, {78, "fbn"}, {79, "bn"}, {80, "p"}, {82, "pp"}, {83, "pn"}, {84, "p"},
	{85, "pn"}, {86, "pp"}, {87, "p"}, {88, "pp"}, {89, "pbn"}, {90, "pn"}, {92, "p00"}, {94, "p00"}, {96, "ss"},
	{97, "ns"}, {98, "0s"}, {99, "s"}, {100, "s"}, {115, "ns"}, {116, "ns"}, {118, "sss"}, {120, "sss"},
	{125, "ss"}, {126, "ss"}, {127, "s8"}, {128, "sss8"}, {129, "0ns"}, {131, "ss"}, {132, "ps"}, {133, "pn0"},
	{136, "0s"}, {137, "ps"}, {138, "fs"}, {140, "00"}, {142, "0s"}, {143, "0s"}, {144, "00s"}, {148, "0s"},
	{157, "ns"}, {159, "s"}, {160, "ns"}, {161, "p"}, {170, "bn"}, {171, "bn"}, {188, "pxsn0"}, {189, "pxsn0"},
	{190, "fxsn0"}, {191, "pxsn"}, {192, "pxsn"}, {193, "fxsn"}, {194, "pbn"}, {195, "pbn"}, {196, "fbn"},
	{197, "px"}, {198, "px"}, {199, "fx"}, {201, "s"}, {202, "s100"}, {203, "0ns"}, {204, "0ns"}, {217, "fbn"},
	{222, "0ss"}, {228, "0s"}, {229, "0s"}, {230, "00ss"}, {233, "f1fs"}, {235, "ps"}, {239, "sbn"}, {247, "00s4s"},
	{254, "fpn"}, {257, "dp00"}, {258, "dpn"}, {259, "dpn0"}, {260, "dp000"}, {261, "dps"}, {262, "dps0"},
	{263, "dp0"}, {264, "dpdp"}, {265, "dpdp0"}, {266, "pdp"}, {267, "dpbn"}, {268, "dpn"}, {269, "dp0"},
	{270, "nsssss"}, {271, "sns"}, {273, "sn"}, {274, "0ss"}, {275, "fsfsn"}, {278, "fsn"}, {280, "dps0"},
	{281, "fsn0s"}, {286, "f0ss"}, {287, "fs"}, {289, "fs8"}, {293, "s0"}, {295, "fsn"}, {296, "fsn"}, {297, "000s"},
	{302, "0nss"}, {306, "f"}, {309, "sss"}, {310, "0snsn"}, {311, "0snsn"}, {314, "0s0"}, {315, "0sn0"},
	{316, "dpdp0"}, {318, "bn0"}, {319, "s0"}, {322, "dpss0"}, {326, "fsfsn"}, {327, "fsn"}, {328, "fsn"},
	{332, "dp0ns"}, {334, "sn"}, {424, "f0s"}, {435, "sn"}, {437, "dpsn"}, {439, "dp00"}, {441, "fsnss"},
	{449, "sn0s"}, {451, "fss"}, {452, "dpn0"},
};

/* What the comparison with a native run covers: calls whose outcome does not hang on who runs them. */
static const int compared[] = {0, 1, 2, 4, 5, 6, 17, 18, 19, 20, 21, 22, 63, 76, 79, 80, 82, 83, 84, 86, 87, 88, 89, 90,
			       96, 99, 115, 118, 120, 132, 137, 138, 188, 191, 193, 194, 196, 197, 217, 235, 257, 258,
			       262, 263, 264, 265, 266, 267, 268, 269, 280, 316, 318, 327, 332, 437, 439};

/*
 * They end or stop the caller and say nothing (exit, exit_group, pause, rt_sigreturn, rt_sigsuspend), make others that
 * would go on with the loop (clone, fork, vfork), or load the whole machine (sync, syncfs); and the kernel lets
 * uretprobe and uprobe pass every filter, to SIGILL.
 */
static const int skipped[] = {60, 231, 34, 15, 130, 56, 57, 58, 162, 306, 335, 336};

enum { PAGE = 4096, KINDS = 13 };
static char *end_of_mapping, *no_access, *read_only;

static unsigned long bad_pointer(int kind)
{
	switch (kind) {
	case 0: return 0;
	case 1: return 0x10;
	case 2: return 0xdeadbeef000;
	case 3: return 0x7ffffffff000; /* the first address above user space */
	case 4: return 0x800000000000; /* not canonical */
	case 5: return 0xffff888000000000;
	case 6: return 0xffffffffffffffff;
	case 7: return 0xffffffffffffff00;
	case 8: return (unsigned long)(end_of_mapping - 1);
	case 9: return (unsigned long)(end_of_mapping - 9);
	case 10: return (unsigned long)end_of_mapping;
	case 11: return (unsigned long)no_access;
	default: return (unsigned long)read_only;
	}
}

static void map_pages(void)
{
	end_of_mapping = (char *)mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE;
	memset(end_of_mapping - PAGE, 'a', PAGE);
	munmap(end_of_mapping, PAGE);
	no_access = mmap(0, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	read_only = mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int file, directory;
static char buffers[6][8192];

static void prepare(void)
{
	memset(end_of_mapping - PAGE, 'a', PAGE);
	CALL2(83, "p", 0755);
	CALL1(80, "p");
	file = CALL3(2, "x", O_RDWR | O_CREAT, 0644);
	CALL3(1, file, "hello", 5);
	CALL3(8, file, 0, SEEK_SET);
	directory = CALL3(2, ".", O_RDONLY | O_DIRECTORY, 0);
	CALL2(88, "x", "link");
}

static void clean(void)
{
	static const char *const names[] = {"x", "y", "link"};
	for (int i = 0; i < 3; i++)
		CALL1(87, names[i]), CALL1(84, names[i]);
	CALL1(80, "..");
	CALL1(84, "p");
}

static void plausible(const char *signature, unsigned long *arguments)
{
	int paths = 0;
	for (int i = 0; i < 6; i++) {
		char letter = i < (int)strlen(signature) ? signature[i] : '0';
		memset(buffers[i], 0, sizeof buffers[i]);
		switch (letter) {
		case 'p':
			strcpy(buffers[i], paths++ ? "y" : "x");
			arguments[i] = (unsigned long)buffers[i];
			break;
		case 'x':
			strcpy(buffers[i], "user.x");
			arguments[i] = (unsigned long)buffers[i];
			break;
		case 'b': case 's': arguments[i] = (unsigned long)buffers[i]; break;
		case 'f': arguments[i] = file; break;
		case 'd': arguments[i] = (unsigned long)AT_FDCWD; break;
		case 'n': arguments[i] = 64; break;
		default: arguments[i] = letter - '0';
		}
	}
}

static const char *signature_of(int number)
{
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i].number == number)
			return calls[i].signature;
	return 0;
}

static int is_in(const int *list, int count, int number)
{
	for (int i = 0; i < count; i++)
		if (list[i] == number)
			return 1;
	return 0;
}

static void nothing(int number)
{
}

/* All bad pointers in all places of one call; the child ends with 0 unless a call killed it. */
static void try_call(int number)
{
	struct sigaction action = {.sa_handler = nothing};
	const char *signature = signature_of(number);
	sigaction(SIGALRM, &action, 0);
	for (int argument = 0; argument < 6; argument++) {
		if (signature && (argument >= (int)strlen(signature) || !strchr("pbsx", signature[argument])))
			continue;
		for (int kind = 0; kind < KINDS; kind++) {
			unsigned long a[6];
			plausible(signature ? signature : "000000", a);
			a[argument] = bad_pointer(kind);
			ualarm(200000, 200000);
			gate(number, a[0], a[1], a[2], a[3], a[4], a[5]);
			ualarm(0, 0);
		}
	}
}

static int all(void)
{
	int survived = 0, died = 0;
	for (int number = 0; number < 512; number++) {
		int status;
		if (is_in(skipped, sizeof skipped / sizeof *skipped, number))
			continue;
		pid_t pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			prepare();
			try_call(number);
			_exit(0);
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFEXITED(status))
			survived++;
		else
			printf("call %d: the caller died of signal %d\n", number, WTERMSIG(status)), died++;
		clean();
	}
	printf("%d survived, %d died\n", survived, died);
	return 0;
}

static int compare(void)
{
	for (unsigned i = 0; i < sizeof compared / sizeof *compared; i++) {
		const char *signature = signature_of(compared[i]);
		for (int argument = 0; argument < (int)strlen(signature); argument++) {
			if (!strchr("pbsx", signature[argument]))
				continue;
			for (int kind = 0; kind < KINDS; kind++) {
				unsigned long a[6];
				long result;
				prepare();
				plausible(signature, a);
				if (compared[i] == 79 && kind == 9)
					continue; /* whether the name fits hangs on where the root is */
				if (signature[0] == 'f' && compared[i] == 217)
					a[0] = directory;
				if (compared[i] == 89 || compared[i] == 267)
					strcpy(buffers[compared[i] == 267], "link");
				a[argument] = bad_pointer(kind);
				result = gate(compared[i], a[0], a[1], a[2], a[3], a[4], a[5]);
				printf("call %d argument %d kind %d: %ld\n", compared[i], argument, kind,
				       result < 0 ? result : 0);
				close(file), close(directory);
				clean();
			}
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	map_pages();
	CALL2(83, "p", 0755), CALL1(80, "p"), clean();
	setvbuf(stdout, 0, _IOFBF, 1 << 20);
	return argc > 1 && !strcmp(argv[1], "compare") ? compare() : all();
}
